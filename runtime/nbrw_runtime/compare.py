"""Whether the outputs of a cell that was run again equal the author's. Pure.

Compared is what a reader would see: text by lines, tables by cells, images by their pixels, errors
by name and message; numbers within a tolerance. Not compared: memory addresses, execution counts,
the order of stdout against stderr, widgets' identifiers. What cannot be told is different; so are
times and whatever else is another with every run: whoever prints them has no repeatable output.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nbrw_runtime.compare_content import pdf_difference
from nbrw_runtime.compare_html import html_difference
from nbrw_runtime.compare_png import png_difference
from nbrw_runtime.compare_text import instead, plain, quoted, same_text, text_difference
from nbrw_runtime.compare_tree import tree_difference
from nbrw_runtime.tolerance import DEFAULT, Tolerance

_WIDGET = "application/vnd.jupyter.widget-view+json"
_SCRIPT = "application/javascript"
_BINARY = ("image/", "audio/", "video/", "application/pdf", "application/octet-stream")
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
#: A cell with this tag, or this comment on a line of its own, is not compared (as nbval has it).
IGNORE_TAG, IGNORE_COMMENT = "nbval-ignore-output", "NBVAL_IGNORE_OUTPUT"


def differences(
    author: Iterable[Mapping[str, Any]],
    now: Iterable[Mapping[str, Any]],
    tolerance: Tolerance = DEFAULT,
) -> list[str]:
    """What differs between two lists of nbformat outputs, a phrase each; [] if nothing does."""
    author, now = list(author), list(now)
    found = _streams_differ(_streams(author), _streams(now), tolerance)
    before = [out for out in author if out["output_type"] != "stream"]
    after = [out for out in now if out["output_type"] != "stream"]
    if len(before) != len(after):
        found.append(f"{_outputs(after)} instead of {_outputs(before)}")
        return found
    for number, (old, new) in enumerate(zip(before, after, strict=True), 1):
        which = f"output {number}, " if len(before) > 1 else ""
        found += [which + text for text in _differences_of(old, new, tolerance)]
    return found


def is_ignored(source: str, tags: Iterable[str]) -> bool:
    """Whether a cell asks that its outputs be not compared."""
    comments = (line.strip() for line in source.splitlines())
    return IGNORE_TAG in tags or any(
        line.startswith("#") and line.lstrip("#").strip() == IGNORE_COMMENT for line in comments
    )


def joined(text: Any) -> str:
    """A multi-line string of nbformat, which may be a list of lines."""
    return "".join(text) if isinstance(text, list) else str(text)


def _outputs(outputs: Sequence[Mapping[str, Any]]) -> str:
    kinds = ", ".join(dict.fromkeys(out["output_type"] for out in outputs))
    return f"{len(outputs)} output{'s' * (len(outputs) != 1)}" + (f" ({kinds})" if kinds else "")


def _streams(outputs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for out in outputs:
        if out["output_type"] == "stream":
            texts[out["name"]] = texts.get(out["name"], "") + joined(out["text"])
    return {name: text for name, text in texts.items() if text}


def _streams_differ(
    before: Mapping[str, str], after: Mapping[str, str], tolerance: Tolerance
) -> list[str]:
    found = []
    for name in sorted({*before, *after}):
        if name not in after:
            found.append(f"{name} is missing: {quoted(before[name])}")
        elif name not in before:
            found.append(f"{name} is new: {quoted(after[name])}")
        else:
            text = text_difference(before[name], after[name], tolerance)
            found += [f"{name}, {text}"] if text else []
    return found


def _differences_of(
    old: Mapping[str, Any], new: Mapping[str, Any], tolerance: Tolerance
) -> list[str]:
    if old["output_type"] != new["output_type"]:
        return [f"{new['output_type']} instead of {old['output_type']}"]
    if old["output_type"] == "error":
        name, message = (
            [str(out.get(key, "")) for out in (old, new)] for key in ("ename", "evalue")
        )
        if name[0] == name[1] and same_text(message[0], message[1], tolerance):
            return []
        first, second = (f"{n}: {plain(m)}" for n, m in zip(name, message, strict=True))
        return [f"error, {instead(first, second)}"]
    before, after = old.get("data", {}), new.get("data", {})
    found = []
    for kind in sorted({*before, *after}):
        if kind not in before or kind not in after:
            found.append(f"{kind} is {'new' if kind in after else 'missing'}")
            continue
        text = _data_differs(kind, before[kind], after[kind], tolerance)
        found += [f"{kind}, {text}"] if text else []
    return found


def _data_differs(kind: str, old: Any, new: Any, tolerance: Tolerance) -> str | None:
    """How one representation of a result differs, by its media type."""
    if kind == _WIDGET:
        return None
    if kind == "application/json" or kind.endswith("+json"):
        # For Python `true` equals 1.
        same = json.dumps(old) == json.dumps(new)
        return None if same else tree_difference(old, new, tolerance)
    if old == new:
        return None
    before, after = joined(old), joined(new)
    if kind in ("text/html", "image/svg+xml"):
        return html_difference(before, after, tolerance)
    if kind.startswith(_BINARY):
        return _bytes_differ(kind, before, after)
    if kind == _SCRIPT:
        before, after = _numbered(before), _numbered(after)
    return text_difference(before, after, tolerance)


def _numbered(script: str) -> str:
    """A script whose random identifiers are numbered by where they come first."""
    order: dict[str, str] = {}
    return _UUID.sub(lambda m: order.setdefault(m[0], f"nbrw-id-{len(order) + 1}"), script)


def _bytes_differ(kind: str, old: str, new: str) -> str | None:
    """Images and other binary data, as base64."""
    try:
        first, second = (
            base64.b64decode("".join(text.split()), validate=True) for text in (old, new)
        )
    except ValueError:
        return "it differs, and is no base64"
    if first == second:
        return None
    if kind == "image/png":
        return png_difference(first, second)
    if kind == "application/pdf":
        return pdf_difference(first, second)
    return "its bytes differ" + (", and its pixels cannot be compared" * kind.startswith("image/"))
