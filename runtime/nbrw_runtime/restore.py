"""Bring back what cells left in the namespace, and beside it."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.blob_checks import LARGE, BlobChecks
from nbrw_runtime.checkpoint import Checkpoint, StoredObject
from nbrw_runtime.codec import LoadContext, load
from nbrw_runtime.digest import Digest
from nbrw_runtime.effects import imported_modules
from nbrw_runtime.errors import IntegrityError, NotFoundError, RestoreError
from nbrw_runtime.import_watch import when_loaded
from nbrw_runtime.names import is_local_module, parsed
from nbrw_runtime.state_providers import Provider
from nbrw_runtime.versions import IMPORTING, PREFIX, is_connection_type


@dataclass
class Restored:
    """What did not come back, with the reason; the objects that are here as a whole."""

    failed: list[dict[str, Any]] = field(default_factory=list)
    objects: list[StoredObject] = field(default_factory=list)


def bring(
    wanted: Iterable[tuple[Checkpoint, Iterable[str]]],
    namespace: dict[str, Any],
    context: LoadContext,
    providers: Mapping[str, Provider],
    checks: BlobChecks | None = None,
) -> Restored:
    """Load these names from these checkpoints into the namespace; nothing raises but interrupts.

    With ``checks`` large buffers are checked there, while the names are in use.
    """
    result = Restored()
    found = []
    for checkpoint, names in wanted:
        some = set(names)
        for stored in checkpoint.objects:
            chosen = [name for name in stored.names if name in some]
            if chosen:
                found.append((checkpoint.cell, stored, chosen))
    _bring(found, namespace, context, providers, result, checks)
    return result


def import_again(
    sources: Iterable[tuple[Checkpoint | None, str]],
    context: LoadContext,
    providers: Mapping[str, Provider],
) -> list[StoredObject]:
    """Import what restored cells imported, in order, each with the environment, the path and the
    working directory of its time; what was set for that. Nothing raises but interrupts.

    For what modules register; whoever uses one by name has it from a checkpoint. ``sources`` come
    with the checkpoints of those that changed what modules look at.
    """
    objects: list[StoredObject] = []
    for checkpoint, source in sources:
        if checkpoint is not None:
            for module in imported_modules(_first_imports(source)):
                _import(module)
            objects += bring([(checkpoint, IMPORTING)], {}, context, providers).objects
        for module in imported_modules(source):
            _import(module)
    return objects


def _first_imports(source: str) -> str:
    """The part of a cell that comes before all that is no import."""
    tree = parsed(source)
    for statement in tree.body if tree is not None else ():
        if not isinstance(statement, (ast.Import, ast.ImportFrom)):
            return "\n".join(source.split("\n")[: statement.lineno - 1])
    return ""


def _import(module: str) -> None:
    """Import a module, if it can be. ``package:name`` is one only if the package has none of that
    name in it.
    """
    if f"{module}:".startswith(("distributed:", "dask.distributed:", "dask:distributed:")):
        # It takes long, and registers settings with Dask and nothing else.
        when_loaded("dask", functools.partial(_import_now, module))
    else:
        _import_now(module)


def _import_now(module: str, dask: Any = None) -> None:
    package, _, name = module.partition(":")
    with contextlib.suppress(Exception):
        if name:
            module = f"{package}.{name}"
            if name in vars(sys.modules[package]) or importlib.util.find_spec(module) is None:
                return
        if module not in sys.modules:
            importlib.import_module(module)


def _bring(
    wanted: list[tuple[int, StoredObject, list[str]]],
    namespace: dict[str, Any],
    context: LoadContext,
    providers: Mapping[str, Provider],
    result: Restored,
    checks: BlobChecks | None,
) -> None:
    # State outside the namespace first: objects may be found through it (a logger's handlers).
    for cell, stored, names in sorted(
        wanted, key=lambda item: (_is_inside(item[2]), item[0], _connects_not(item[1]))
    ):
        try:
            if is_local_module(names[0]):
                result.objects.append(stored)  # it is what it is
                continue
            if names[0].startswith(PREFIX):
                _set(names[0], stored, context, providers)
                result.objects.append(stored)
                continue
            later = _large(stored, context) if checks is not None else ()
            values = _load(stored, context, later)
            if checks is not None and later:
                checks.begin(cell, names, context.store, later)
        except Exception as error:
            # What cannot be brought back is made again by its cell.
            result.failed.append(
                {
                    "cell": cell,
                    "names": names,
                    "reason": str(error)
                    if isinstance(error, RestoreError)
                    else f"{type(error).__name__}: {error}",
                    "integrity": isinstance(error, (IntegrityError, NotFoundError)),
                }
            )
            continue
        for name in names:
            namespace[name] = values[name]
        if len(names) == len(stored.names):
            result.objects.append(stored)


def _is_inside(names: list[str]) -> bool:
    return not names[0].startswith(PREFIX)


def _connects_not(stored: StoredObject) -> bool:
    return not any(is_connection_type(kind) for kind in stored.types)


def _large(stored: StoredObject, context: LoadContext) -> tuple[Digest, ...]:
    """The buffers that are large enough to be checked while they are used."""
    size = getattr(context.store, "size", None)
    return tuple(d for d in dict.fromkeys(stored.buffers) if size and size(d) >= LARGE)


def _load(stored: StoredObject, context: LoadContext, later: Collection[Digest] = ()) -> Any:
    payload = context.store.get(stored.blob)
    mapped = getattr(context.store, "map", None)
    # Arrays must be writable: private maps, or copies.
    buffers = [
        mapped(digest, digest not in later) if mapped else bytearray(context.store.get(digest))
        for digest in stored.buffers
    ]
    return load(payload, buffers, stored.codec, context)


def _set(
    name: str,
    stored: StoredObject,
    context: LoadContext,
    providers: Mapping[str, Provider],
) -> None:
    """Set one part of the state outside the namespace. Raises what keeps it from being set."""
    provider = providers.get(name)
    if provider is None:
        raise RestoreError(
            f"nothing here keeps the state {name[len(PREFIX) : -1]!r}: install what does"
        )
    value = _load(stored, context)[name]
    try:
        provider.set(value)
    except Exception as error:
        raise RestoreError(f"it could not be set: {type(error).__name__}: {error}") from error
