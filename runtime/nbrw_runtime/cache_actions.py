"""What the `cache` commands do, in an image and on the host: kinds in, a text and a code out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from nbrw_runtime.cache_kinds import CacheKind
from nbrw_runtime.cache_place import cache_home
from nbrw_runtime.cache_report import as_json, checked_text, list_text, removed_text
from nbrw_runtime.errors import EXIT_INTEGRITY, EXIT_OK, UsageError


def cache_path() -> str:
    """The directory of all caches. Raises UsageError if there is none."""
    try:
        return str(cache_home())
    except RuntimeError as error:
        raise UsageError(
            "find the cache: there is no home directory; name one with NBRW_CACHE_DIR"
        ) from error


def listed(kinds: Sequence[CacheKind], path: str, as_document: bool) -> str:
    """The text of `cache list`."""
    items = [item for kind in kinds for item in kind.items()]
    if as_document:
        return json.dumps(as_json(path, items=items), indent=1)
    return list_text(items, path, time.time())


def pruned(
    kinds: Sequence[CacheKind],
    path: str,
    limit: int | None,
    longest: float | None,
    as_document: bool,
) -> str:
    """Prune, and the text of `cache prune`."""
    done = [kind.prune(limit, longest) for kind in kinds]
    return json.dumps(as_json(path, removed=done), indent=1) if as_document else removed_text(done)


def checked(kinds: Sequence[CacheKind], path: str, as_document: bool) -> tuple[str, int]:
    """Check; the text of `cache check`, and the exit code."""
    said = [text for kind in kinds for text in kind.check()]
    code = EXIT_INTEGRITY if said else EXIT_OK
    if as_document:
        return json.dumps(as_json(path, corrupt=said), indent=1), code
    return checked_text(said), code
