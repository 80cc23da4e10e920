"""A synthetic picture of the Earth's surface for `dconv.ipynb`: grey, 8 bits.

    python make_data.py [DIRECTORY] [--small]     (default: data; 8,000 pixels wide, --small 1,000)

Waves of all lengths, land where they are high, clouds, and the camera's noise.
The same seed gives the same bytes with the same numpy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

SEED = 30002
WAVES = 9
BAND = 500  # rows that are made at a time


def rows(first: int, last: int, size: int) -> np.ndarray:
    """Some rows of the picture."""
    random = np.random.default_rng(SEED)
    y = np.arange(first, last, dtype="float32")[:, None] / size
    x = np.arange(size, dtype="float32")[None, :] / size
    land = np.zeros((last - first, size), "float32")
    cloud = np.zeros_like(land)
    for number in range(WAVES):
        length = 2.0 ** (-number / 1.5)
        angle, phase, other = random.uniform(0, 2 * np.pi, 3)
        across = np.cos(angle) * x + np.sin(angle) * y
        land += np.float32(length) * np.sin((6.3 / length) * across + phase, dtype="float32")
        along = np.cos(angle) * y - np.sin(angle) * x
        cloud += np.float32(length) * np.sin((9.4 / length) * along + other, dtype="float32")
    grey = np.where(land > 0.1, 90 + 40 * land, 40 + 6 * land)
    grey += np.clip(cloud - 0.9, 0, 0.6) * 180
    noise = np.random.default_rng([SEED, first]).integers(-2, 3, grey.shape, "int8")
    return np.clip(grey + noise, 0, 255).astype("uint8")


def main(directory: Path, size: int) -> None:
    """Write the picture."""
    directory.mkdir(parents=True, exist_ok=True)
    picture = np.empty((size, size), "uint8")
    for first in range(0, size, BAND):
        picture[first : first + BAND] = rows(first, min(first + BAND, size), size)
    np.save(directory / "earth.npy", picture)
    print(f"{directory}: {size} x {size} pixels, {picture.nbytes / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", type=Path, default=Path("data"))
    parser.add_argument("--small", action="store_true", help="for tests: seconds, not minutes")
    options = parser.parse_args()
    main(options.directory, 1000 if options.small else 8000)
