"""Where nbrw keeps what may be deleted at any time, and how much of it. Variables:

NBRW_CACHE_DIR    instead of ``$XDG_CACHE_HOME/nbrw`` (``~/.cache/nbrw``)
NBRW_CACHE_SIZE   what repeats may keep together: ``5G``, ``500M``; 0: nothing
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_MOST = 20 * 10**9
_SHARE = 10  # one part in so many of what is free
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"(\d+(?:\.\d+)?) ?([mhdw])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", re.IGNORECASE)


def cache_home(variables: Mapping[str, str] | None = None) -> Path:
    """The directory of all of nbrw's caches. Raises RuntimeError if there is no home directory."""
    found = os.environ if variables is None else variables
    own = Path(found.get("NBRW_CACHE_DIR", ""))
    return own if own.is_absolute() else xdg_cache_home(found) / "nbrw"


def xdg_cache_home(variables: Mapping[str, str] | None = None) -> Path:
    """``$XDG_CACHE_HOME``, or ``~/.cache``."""
    found = os.environ if variables is None else variables
    base = Path(found.get("XDG_CACHE_HOME", ""))
    return base if base.is_absolute() else Path.home() / ".cache"


def results_root(variables: Mapping[str, str] | None = None) -> Path:
    """Where repeats keep results."""
    return cache_home(variables) / "repeats"


def parse_size(text: str) -> int:
    """Bytes, of ``5G``, ``1.5 GB``, ``500M``, ``1000``; decimal units. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size such as 5G or 500M: {text!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def parse_age(text: str) -> float:
    """Seconds, of ``90m``, ``12h``, ``30d``, ``2w``. Raises ValueError."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a time such as 12h or 30d: {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def size_limit(free: int, kept: int, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
    """How many bytes results may take, and a note if the variable says it wrongly.

    By default a tenth of what would be free without what is ``kept`` already, 20 GB at most.
    """
    found = os.environ if variables is None else variables
    usual = min(_MOST, (free + kept) // _SHARE)
    text = found.get("NBRW_CACHE_SIZE", "")
    if not text:
        return usual, ""
    try:
        return parse_size(text), ""
    except ValueError as error:
        return usual, f"NBRW_CACHE_SIZE is {error}; the usual limit holds"
