"""PNG images compared by their pixels. Pure.

Source: PNG specification (third edition), sections 5, 7, 9, 11. Two files with the same pixels may
have other bytes: another filter for a line, another compression, another comment. Interlaced and
animated images are not decoded; it is said that they cannot be compared.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbrw_runtime.png_filters import unfiltered

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# They say nothing of how the image looks on a screen.
_IGNORED = {b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"bKGD", b"hIST", b"sPLT", b"IEND"}
_KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"tRNS"}
_RUN = re.compile(rb"[^\0]+", re.DOTALL)
#: Bytes of pixels that are decoded at most: some seconds of work.
LIMIT = 32_000_000


class NotDecoded(Exception):
    """The image is not one whose pixels can be had; ``str()`` says why."""


@dataclass(frozen=True)
class Png:
    """An image as its file has it: ``lines`` are filtered, each with its filter's number.

    ``others`` are the chunks that may change how it looks and are not understood here.
    """

    width: int
    height: int
    depth: int
    colour: int
    lines: bytes
    palette: bytes = b""
    transparent: bytes | None = None
    others: tuple[tuple[bytes, bytes], ...] = field(default=())

    @property
    def step(self) -> int:
        """Bytes of a pixel, rounded up: how far back filters look."""
        return max(1, self.depth * _CHANNELS[self.colour] // 8)

    @property
    def stride(self) -> int:
        """Bytes of a line."""
        return (self.width * self.depth * _CHANNELS[self.colour] + 7) // 8

    @property
    def is_plain(self) -> bool:
        """Whether each byte of a line is a sample that is seen as it is."""
        return self.depth == 8 and self.colour != 3 and self.transparent is None

    @property
    def coding(self) -> tuple[object, ...]:
        """Where this is equal, lines of equal bytes are lines of equal pixels."""
        return self.depth, self.colour, self.palette, self.transparent

    def unfiltered(self) -> Iterator[bytes]:
        """The bytes of each line. Raises NotDecoded."""
        above, stride = bytes(self.stride), self.stride
        for start in range(0, len(self.lines), stride + 1):
            line = self.lines[start + 1 : start + 1 + stride]
            try:
                above = unfiltered(self.lines[start], line, above, self.step)
            except ValueError as error:
                why = "it uses a filter that the specification does not know"
                raise NotDecoded(why) from error
            yield above

    def pixels(self, line: bytes) -> list[tuple[int, ...]]:
        """A line's pixels: red, green, blue, opacity; 16 bits each if the file has 16."""
        return self._decoded(self._samples(line))

    def _samples(self, line: bytes) -> list[int]:
        count = self.width * _CHANNELS[self.colour]
        if self.depth == 8:
            return list(line[:count])
        if self.depth == 16:
            return list(struct.unpack(f">{count}H", line[: 2 * count]))
        mask, places = (1 << self.depth) - 1, range(8 - self.depth, -1, -self.depth)
        return [byte >> place & mask for byte in line for place in places][:count]

    def _decoded(self, samples: list[int]) -> list[tuple[int, ...]]:
        top = 65535 if self.depth == 16 else 255
        if self.colour == 3:
            alpha = (self.transparent or b"").ljust(256, b"\xff")
            table = [
                (*self.palette[3 * n : 3 * n + 3], alpha[n]) for n in range(len(self.palette) // 3)
            ]
            try:
                return [table[index] for index in samples]
            except IndexError:
                raise NotDecoded("it uses a colour that its palette lacks") from None
        if self.colour == 0:
            key = self._keys(1)
            scale = top // ((1 << self.depth) - 1)
            return [(v * scale,) * 3 + (0 if (v,) == key else top,) for v in samples]
        if self.colour == 4:
            return [(v, v, v, a) for v, a in zip(samples[::2], samples[1::2], strict=True)]
        if self.colour == 6:
            return list(zip(*(samples[n::4] for n in range(4)), strict=True))
        key = self._keys(3)
        colours = zip(*(samples[n::3] for n in range(3)), strict=True)
        return [(*colour, 0 if colour == key else top) for colour in colours]

    def _keys(self, count: int) -> tuple[int, ...] | None:
        """The colour that is transparent, if there is one."""
        if self.transparent is None:
            return None
        if len(self.transparent) != 2 * count:
            raise NotDecoded("its tRNS chunk is malformed")
        return struct.unpack(f">{count}H", self.transparent)


def png_difference(old: bytes, new: bytes) -> str | None:
    """How ``new`` differs from the author's image, as a phrase; None if the pixels are equal."""
    if old == new:
        return None
    try:
        before, after = read_png(old), read_png(new)
        if (before.width, before.height) != (after.width, after.height):
            return (
                f"{after.width} x {after.height} pixels instead of {before.width} x {before.height}"
            )
        if before.others != after.others:
            return "its pixels are meant for other colours (a profile or gamma differs)"
        if before == after:
            return None
        return _pixels_differ(before, after)
    except NotDecoded as error:
        return f"its bytes differ, and its pixels cannot be compared: {error}"


def read_png(data: bytes) -> Png:
    """An image's parts. Raises NotDecoded."""
    if data[:8] != _SIGNATURE:
        raise NotDecoded("it is no PNG")
    chunks = list(_chunks(data))
    header = next((body for kind, body in chunks if kind == b"IHDR"), b"")
    if len(header) != 13:
        raise NotDecoded("it has no header")
    width, height, depth, colour, compression, filters, interlaced = struct.unpack(
        ">IIBBBBB", header
    )
    if depth not in _DEPTHS.get(colour, ()) or compression or filters or not width or not height:
        raise NotDecoded("its header is of a kind that the specification does not know")
    if interlaced:
        raise NotDecoded("it is interlaced")
    found = dict(chunks)
    image = Png(
        width,
        height,
        depth,
        colour,
        b"",
        found.get(b"PLTE", b"") if colour == 3 else b"",
        found.get(b"tRNS"),
        tuple(sorted(c for c in chunks if c[0] not in _IGNORED | _KNOWN)),
    )
    size = height * (image.stride + 1)
    if size > LIMIT:
        raise NotDecoded(f"it is larger than {LIMIT} bytes")
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    try:
        lines = zlib.decompressobj().decompress(packed, size)
    except zlib.error as error:
        raise NotDecoded(f"its data is malformed: {error}") from error
    if len(lines) != size:
        raise NotDecoded("its data ends early")
    return Png(**{**image.__dict__, "lines": lines})


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(data):
        if position + 12 > len(data):
            raise NotDecoded("it ends early")
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        crc = data[position + 8 + length : position + 12 + length]
        if len(crc) != 4 or struct.unpack(">I", crc)[0] != zlib.crc32(kind + body):
            raise NotDecoded("one of its checksums is wrong")
        if kind in (b"acTL", b"fcTL", b"fdAT"):
            raise NotDecoded("it is animated")
        yield kind, body
        position += 12 + length


def _pixels_differ(before: Png, after: Png) -> str | None:
    # 8 bits of one against 16 of the other: both as 16.
    sixteen = 16 in (before.depth, after.depth)
    first, second = (257 if sixteen and png.depth != 16 else 1 for png in (before, after))
    same_coding = before.coding == after.coding
    count, largest = 0, 0
    for old, new in zip(before.unfiltered(), after.unfiltered(), strict=True):
        if same_coding and old == new:
            continue
        if same_coding and before.is_plain:
            found = _bytes_differ(old, new, before.step)
            count, largest = count + found[0], max(largest, found[1])
            continue
        for a, b in zip(before.pixels(old), after.pixels(new), strict=True):
            far = max(abs(x * first - y * second) for x, y in zip(a, b, strict=True))
            count += far > 0
            largest = max(largest, far)
    if not count:
        return None
    total = before.width * before.height
    return f"{count} of {total} pixels differ, by at most {largest} of {65535 if sixteen else 255}"


def _bytes_differ(old: bytes, new: bytes, step: int) -> tuple[int, int]:
    """In a line that is plain: how many pixels differ, and by how much at most."""
    first, second = (int.from_bytes(line, "little") for line in (old, new))
    marks = (first ^ second).to_bytes(len(old), "little")
    places = [at for found in _RUN.finditer(marks) for at in range(*found.span())]
    return len({at // step for at in places}), max(abs(old[at] - new[at]) for at in places)
