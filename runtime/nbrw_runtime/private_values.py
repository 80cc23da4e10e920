"""Values that look private are shown to nobody: a digest takes their place. Pure.

A value is judged by the name that it has, and by itself: a URL with a password in it, a dictionary
with the key ``"password"``, a text that looks as if it were drawn at random.
"""

from __future__ import annotations

import hashlib
import re

_NAME = re.compile(
    r"token|secret|passw|pwd|passphrase|credential|key|private|auth|bearer|cookie|dsn|signature"
    r"|(?:^|[_\W])pin(?:$|[_\W])",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_URL = re.compile(r"://[^/\s'\"]*@")
_KNOWN = re.compile(r"AKIA[0-9A-Z]{16}|eyJ[\w-]{8,}\.|gh[pousr]_\w{16}|PRIVATE KEY|Bearer \S{8}")
_RUN = re.compile(r"[A-Za-z0-9+=]{16,}")
_HIDDEN = re.compile(r"hidden [0-9a-f]{8}\Z")


def hidden(value: str) -> str:
    """What stands for a private value: 32 bits of its digest, enough to tell that it changed."""
    return f"hidden {hashlib.sha256(value.encode()).hexdigest()[:8]}"


def is_hidden(text: str) -> bool:
    """Whether this stands for a private value."""
    return _HIDDEN.match(text) is not None


def looks_private(name: str, value: str) -> bool:
    """Whether a value, as ``repr`` gives it, may be private. In doubt it is."""
    if _NAME.search(name) or _URL.search(value) or _KNOWN.search(value):
        return True
    texts = _QUOTED.findall(value)
    return any(_NAME.search(text) or _looks_drawn(text) for text in texts)


def _looks_drawn(text: str) -> bool:
    for run in _RUN.findall(text):
        digits = sum(character.isdigit() for character in run)
        if digits >= 3 and len(run) - digits >= 3:
            return True
    return False
