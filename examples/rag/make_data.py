"""Four synthetic books for `rag.ipynb`.

    python make_data.py [DIRECTORY] [--small | --scale N]

(default: data; 6.5 MB, --small a fortieth, --scale N times as much)

Each book has a licence before and after it, chapters, paragraphs, lines of at most 72 characters.
Words are English where they carry the book's subjects, and made of syllables otherwise; how often
each comes goes by Zipf's law. The same seed gives the same bytes with the same numpy.
"""

from __future__ import annotations

import argparse
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np

SEED = 1851
COMMON = (
    "the of and to a in that it is was he for his with as on had at by which have from this her "
    "she they but not be were all we their there are been one so an or when who will would no if "
    "more out up into said could then them now over some time very what upon about like"
)
SUBJECTS = {
    "sea": "whale ship captain harpoon storm sailor harbour deck anchor island voyage boat",
    "crime": "detective murder letter witness poison inspector evidence alibi prison suspect",
    "stars": "telescope planet comet eclipse observatory orbit moon gravity astronomer meridian",
    "land": "garden harvest orchard river farmer cattle village winter meadow plough mill",
    "war": "soldier battle general cannon fortress treaty regiment siege victory retreat banner",
}
#: Title, size in bytes, and how much of each subject there is, in the order of `SUBJECTS`.
BOOKS = {
    "0174": ("The Harvest of the Moon", 151_000, (0, 0, 6, 4, 0)),
    "0345": ("The Letter from the Island", 422_000, (3, 6, 0, 1, 0)),
    "1661": ("An Alibi for the Inspector", 307_000, (0, 9, 0, 1, 0)),
    "2701": ("The Siege and the Storm", 5_600_000, (4, 1, 1, 1, 5)),
}
ONSETS = "b br c ch d dr f g gr h j l m n p pr r s st t th v w"
RHYMES = "a e i o u ai ea ou an en in or al er ar il ound ist ing"
ENDINGS = "s ed ing ly ness ation ful ive"
LICENCE = "This book is synthetic. Whoever finds a meaning in it may keep it."


def made_up_words(random: np.random.Generator, count: int) -> list[str]:
    """Different words of one to three syllables."""
    onsets, rhymes, endings = ONSETS.split(), RHYMES.split(), [*ENDINGS.split(), "", "", ""]
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = [
            random.choice(onsets) + random.choice(rhymes) for _ in range(random.integers(1, 4))
        ]
        words["".join(syllables) + random.choice(endings)] = None
    return list(words)


def chapters(random: np.random.Generator, size: int, mixture: tuple[int, ...]) -> str:
    """Text of about that many bytes."""
    common, rest = COMMON.split(), made_up_words(random, 6000)
    chance = 1.0 / np.arange(3, len(rest) + 3)
    chance /= chance.sum()
    subjects = [words.split() for words in SUBJECTS.values()]
    share = np.array(mixture) / sum(mixture)
    parts, length, number = [], 0, 0
    while length < size:
        number += 1
        subject = subjects[random.choice(len(subjects), p=share)]
        parts.append(f"CHAPTER {number}. {subject[number % len(subject)].capitalize()}")
        for _ in range(12):
            count = int(random.integers(60, 180))
            kind = random.random(count)
            usual = random.integers(0, len(common), count)
            rare = random.choice(len(rest), count, p=chance)
            about = random.integers(0, len(subject), count)
            words = [
                common[c] if k < 0.45 else rest[r] if k < 0.9 else subject[a]
                for k, c, r, a in zip(kind, usual, rare, about, strict=True)
            ]
            parts.append(paragraph(random, words))
            length += len(parts[-1]) + 2
    return "\n\n".join(parts)


def paragraph(random: np.random.Generator, words: list[str]) -> str:
    """Sentences of these words, in lines."""
    sentences = []
    while words:
        count = int(random.integers(6, 22))
        sentences.append(" ".join(words[:count]).capitalize() + ".")
        words = words[count:]
    return textwrap.fill(" ".join(sentences), 72)


def book(number: int, title: str, size: int, mixture: tuple[int, ...]) -> str:
    """A whole book, with what comes before and after it."""
    text = chapters(np.random.default_rng([SEED, number]), size, mixture)
    begin, end = (f"*** {word} OF THE BOOK {title.upper()} ***" for word in ("START", "END"))
    first = f"This is the story of {title}, as it was told to me in the year {1850 + number}."
    return f"{LICENCE}\n\n{begin}\n\n{title}\n\n{first}\n\n{text}\n\n{end}\n\n{LICENCE}\n"


def main(directory: Path, scale: Fraction) -> None:
    """Write the books."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, (id, (title, size, mixture)) in enumerate(BOOKS.items()):
        (directory / f"{id}.txt").write_text(book(number, title, int(size * scale), mixture))
    print(f"{directory}: {len(BOOKS)} books")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("data"))
    parser.add_argument("--small", action="store_true", help="for tests: seconds, not minutes")
    parser.add_argument("--scale", type=int, default=1, metavar="N", help="N times as much")
    options = parser.parse_args()
    main(options.directory, Fraction(1, 40) if options.small else Fraction(options.scale))
