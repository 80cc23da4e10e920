"""Whether the outputs of a cell that was run again equal the author's. Pure.

Compared is what a reader would see: text, tables, images by their pixels, errors by name and
message. Not compared: memory addresses, execution counts, the order of stdout against stderr. What
cannot be told is different.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

#: Numbers that differ by less, relative to the larger one, are equal.
TOLERANCE = 1e-9
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_IMAGES = ("image/png", "image/jpeg", "image/gif")
# Richer forms of what text/plain shows as well; widgets and scripts carry random identifiers.
_SKIPPED = ("application/vnd.jupyter.widget-view+json", "application/javascript")


def differences(author: Iterable[Mapping[str, Any]], now: Iterable[Mapping[str, Any]]) -> list[str]:
    """What differs between two lists of nbformat outputs, a phrase each; [] if nothing does."""
    found: list[str] = []
    before, after = _streams(author), _streams(now)
    for name in sorted({*before, *after}):
        if not same_text(before.get(name, ""), after.get(name, "")):
            found.append(name)
    before_rest = [out for out in author if out["output_type"] != "stream"]
    after_rest = [out for out in now if out["output_type"] != "stream"]
    if len(before_rest) != len(after_rest):
        found.append(f"{len(after_rest)} outputs instead of {len(before_rest)}")
        return found
    for old, new in zip(before_rest, after_rest, strict=True):
        found += _differences_of(old, new)
    return found


def _streams(outputs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for out in outputs:
        if out["output_type"] == "stream":
            texts[out["name"]] = texts.get(out["name"], "") + joined(out["text"])
    return texts


def joined(text: Any) -> str:
    """A multi-line string of nbformat, which may be a list of lines."""
    return "".join(text) if isinstance(text, list) else str(text)


def same_text(old: str, new: str) -> bool:
    """Whether two texts are equal but for memory addresses and the last digits of numbers."""
    if old == new:
        return True
    old, new = (_ADDRESS.sub("0x", _ANSI.sub("", text)) for text in (old, new))
    if old == new:
        return True
    if _NUMBER.split(old) != _NUMBER.split(new):
        return False
    pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    return all(_same_number(a, b) for a, b in pairs)


def _same_number(old: str, new: str) -> bool:
    if old == new:
        return True
    if not any(mark in old + new for mark in ".eE"):
        return False
    a, b = float(old), float(new)
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _differences_of(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    if old["output_type"] != new["output_type"]:
        return [f"{new['output_type']} instead of {old['output_type']}"]
    if old["output_type"] == "error":
        same = old.get("ename") == new.get("ename") and same_text(
            str(old.get("evalue", "")), str(new.get("evalue", ""))
        )
        return [] if same else [f"error {new.get('ename')} instead of {old.get('ename')}"]
    before, after = old.get("data", {}), new.get("data", {})
    found = []
    for kind in sorted({*before, *after}):
        if kind in _SKIPPED:
            continue
        if kind not in before or kind not in after:
            found.append(f"{kind} {'is new' if kind in after else 'is missing'}")
        elif kind in _IMAGES:
            if not same_image(joined(before[kind]), joined(after[kind])):
                found.append(kind)
        elif isinstance(before[kind], (str, list)):
            if not same_text(joined(before[kind]), joined(after[kind])):
                found.append(kind)
        elif before[kind] != after[kind]:
            found.append(kind)
    return found


def same_image(old: str, new: str) -> bool:
    """Whether two base64 images have the same pixels (PNG) or bytes (all else)."""
    if old == new:
        return True
    try:
        first, second = base64.b64decode(old), base64.b64decode(new)
        return first == second or _png_pixels(first) == _png_pixels(second) is not None
    except (ValueError, struct.error, zlib.error):
        return False


def _png_pixels(data: bytes) -> tuple[bytes, bytes] | None:
    """Header and decompressed, still filtered scan lines. Source: PNG specification, section 5."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    position, header, body = 8, b"", b""
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            header = chunk
        elif kind == b"IDAT":
            body += chunk
        position += 12 + length
    return header, zlib.decompress(body)
