"""What a notebook tells workers beside tasks, by `Client.run` and plugins: all later tasks may see.

So it is part of their fingerprints, in order. If it cannot be told from something else, nothing
that comes after is used again.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbrw_runtime.digest import digest_file, digest_json
from nbrw_runtime.task_outside import SETS
from nbrw_runtime.task_refused import Refused

if TYPE_CHECKING:
    from nbrw_runtime.task_cache import TaskCache

#: The ingredient of tasks that says so.
AROUND = "state told to workers"
#: A plugin of Dask's by which nbrw itself reaches workers is called so.
_OWN = "nbrw-"
#: Ways to tell them; all others, to upload a file among them, end in one of these.
METHODS = ("run", "register_plugin", "register_worker_plugin", "unregister_worker_plugin",
           "restart", "restart_workers")  # fmt: skip


def patch(client: type, cache_of: Callable[[], TaskCache | None]) -> None:
    """Have clients of this class say what workers are told; once is enough."""
    for name in METHODS:
        original = getattr(client, name, None)
        if original is not None and not hasattr(original, "_nbrw"):
            setattr(client, name, _watched(name, original, cache_of))


def _watched(name: str, original: Any, cache_of: Callable[[], TaskCache | None]) -> Any:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **options: Any) -> Any:
        cache = cache_of()
        is_counted = cache is not None and not _is_own(args, options)
        if cache is not None and is_counted:
            cache.tell(self, name, args, options)
        answer = original(self, *args, **options)
        if cache is not None and is_counted and not inspect.isawaitable(answer):
            cache.has_told(self)
        return answer

    method._nbrw = True  # type: ignore[attr-defined]
    return method


def gone(client: Any, keys: Iterable[Any]) -> list[Any]:
    """Those of which neither a client nor its scheduler has anything any more."""
    tasks = getattr(getattr(client.cluster, "scheduler", None), "tasks", None)
    if not isinstance(tasks, Mapping):
        return []  # nobody knows
    return [key for key in keys if key not in client.futures and key not in tasks]


class Told:
    """What the workers of one scheduler were told up to now.

    ``digest`` is empty while that is nothing. ``why_not``: why it cannot be compared.
    """

    def __init__(self) -> None:
        self.digest = ""
        self.why_not = ""

    def add(
        self,
        name: str,
        args: Sequence[Any],
        options: dict[str, Any],
        digest_of: Callable[[Any], tuple[str, Sequence[str], Sequence[str]]],
    ) -> None:
        """This method was called. ``digest_of`` gives the digest of a value, what code in it takes
        from outside, and texts in it that may name files; it raises Refused.
        """
        if name.startswith("restart") and not self.digest:
            return  # they forget what they were never told
        try:
            digest, outside, texts = digest_of(_parts(name, args, options))
            # To set something is what they are told for.
            outside = [phrase for phrase in outside if not phrase.startswith(SETS)]
            if outside:
                raise Refused(f"it takes {', '.join(outside)} from outside")
            files = [[text, digest_file(text)[0].hex] for text in texts if os.path.isfile(text)]
            self.digest = digest_json([self.digest, name, digest, files]).hex
        except Exception as error:
            self.digest = self.digest or name
            words = f"{type(error).__name__}: {error}"
            if isinstance(error, Refused):
                words = f"{error.through} {error}" if error.through else str(error)
            self.why_not = f"by Client.{name} its workers got what cannot be compared ({words})"


def _parts(name: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """What a call comes to, without names that Dask draws: workers are counted."""
    kept = {key: value for key, value in options.items() if key not in ("wait", "on_error")}
    workers = kept.get("workers")
    if isinstance(workers, (list, tuple, set)):
        kept["workers"] = len(workers)
    if name != "register_plugin":
        return list(args), kept
    plugin = kept.pop("plugin", None) if not args else args[0]
    if not type(plugin).__module__.startswith("distributed."):
        return [plugin, *args[1:]], kept
    return [type(plugin), vars(plugin)], {}  # (of a file that is uploaded the name is drawn)


def _is_own(args: Sequence[Any], options: dict[str, Any]) -> bool:
    """Whether it is a plugin of nbrw's own, or its name."""
    told = [*args, *options.values()]
    return any(
        (value if isinstance(value, str) else str(getattr(value, "name", ""))).startswith(_OWN)
        for value in told[:1]
    )
