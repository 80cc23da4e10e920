"""State that lies in no variable: working directory, environment, random generators and the like.

Each provider reads its part as a value that can be pickled, and sets it. The values are stored
like variables, under names such as ``<nbrw:random>`` which no variable can have.
"""

from __future__ import annotations

import decimal
import locale
import os
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nbrw_runtime import codec_files, library_settings, state_registry
from nbrw_runtime.codec_kinds import Lost, packed
from nbrw_runtime.errors import RestoreError
from nbrw_runtime.interpreter_state import Interpreter
from nbrw_runtime.ipython_state import Shell
from nbrw_runtime.logging_state import Loggers
from nbrw_runtime.versions import PREFIX, PRIVATE

_SECRET = re.compile(r"(token|secret|passw|credential|api_?key|private|auth)", re.IGNORECASE)
# Set by libraries when they are loaded: to their process' id and the like, or to these values.
_BY_LIBRARIES = ("PYDEVD_", "__DASK_")
_USUAL = {"KMP_DUPLICATE_LIB_OK": "True", "KMP_INIT_AT_FORK": "FALSE"}


@dataclass(frozen=True)
class Provider:
    """``get`` returns None while all is as it was at the start; ``set`` takes what it gave.

    If it cannot be set, the cell that changed it is run again.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]


class Baseline:
    """Process state as it was when the kernel started, against which changes are told."""

    def __init__(self, author_cwd: str, cwd: str) -> None:
        self.author_cwd = author_cwd
        self.cwd = cwd
        codec_files.runs_in(author_cwd, cwd)
        self.environ = dict(os.environ)
        self._private: dict[str, str | None] = {}  # as last looked at,
        self._private_changes = 0  # and how often that was not as before
        self._environ_data = dict(os.environ._data)  # type: ignore[attr-defined]
        self.path = list(sys.path)
        self.locale = locale.setlocale(locale.LC_ALL)
        self.loggers = Loggers()
        self.interpreter = Interpreter()
        self.backend = library_settings.Backend()
        self.notes: list[str] = []  # of state that others keep

    def providers(self) -> tuple[Provider, ...]:
        """All providers, in the order in which they are set."""
        ours = (
            Provider(PREFIX + "cwd>", self._get_cwd, self._set_cwd),
            Provider(PREFIX + "environ>", self._get_environ, self._set_environ),
            Provider(PRIVATE, self._get_private, self._set_private),
            Provider(PREFIX + "sys.path>", self._get_path, self._set_path),
            Provider(PREFIX + "random>", _get_random, _set_random),
            Provider(PREFIX + "warnings>", _get_warnings, _set_warnings),
            Provider(PREFIX + "locale>", self._get_locale, self._set_locale),
            Provider(PREFIX + "decimal>", _get_decimal, _set_decimal),
            Provider(PREFIX + "logging>", self.loggers.get, self.loggers.set),
            Provider(PREFIX + "interpreter>", self.interpreter.get, self.interpreter.set),
            *_named(library_settings.SETTINGS),
            *_named({"matplotlib.backend": (self.backend.get, self.backend.set)}),
            *_named({"pyplot": (library_settings.get_open_figures, lambda value: None)}),
            *_named(Shell().parts()),
            Provider(PREFIX + "dask>", _get_dask, _set_dask),
        )
        known = {provider.name[len(PREFIX) : -1] for provider in ours}
        more, self.notes = state_registry.extensions(known)
        return (*ours, *_named(more))

    def _get_cwd(self) -> Any:
        try:
            now = os.getcwd()
        except OSError:
            return None
        if now == self.cwd:
            return None
        inside = now == self.author_cwd or now.startswith(self.author_cwd + "/")
        return ("in", os.path.relpath(now, self.author_cwd)) if inside else ("at", now)

    def _set_cwd(self, value: Any) -> None:
        where, path = value or ("in", ".")
        os.chdir(os.path.join(self.cwd, path) if where == "in" else path)

    def _get_environ(self) -> Any:
        if os.environ._data == self._environ_data:  # type: ignore[attr-defined]
            return None
        now = dict(os.environ)
        changed = {
            name: text
            for name, text in now.items()
            if self.environ.get(name) != text and _is_storable(name, text)
        }
        gone = sorted(set(self.environ) - set(now))
        return (changed, gone) if changed or gone else None

    def _set_environ(self, value: Any) -> None:
        changed, gone = value or ({}, [])
        self._set_back(_is_storable)
        os.environ.update(changed)
        for name in gone:
            os.environ.pop(name, None)

    def _get_private(self) -> Any:
        """Not what they are: nothing that is derived from their values leaves the process."""
        if os.environ._data == self._environ_data:  # type: ignore[attr-defined]
            now: dict[str, str | None] = {}
        else:
            now = {name: os.environ.get(name) for name in self.private()}
        if now != self._private:
            self._private, self._private_changes = now, self._private_changes + 1
        if not now:
            return None
        why = f"environment variables that look private are not stored: {', '.join(now)}"
        return Lost(why, self._private_changes)

    def _set_private(self, value: Any) -> None:
        self._set_back(lambda name, text: _SECRET.search(name) is not None)

    def _set_back(self, which: Callable[[str, str], bool]) -> None:
        """Set these variables to what they were at the start."""
        for name, text in list(os.environ.items()):
            if name not in self.environ and which(name, text):
                del os.environ[name]
        os.environ.update({n: text for n, text in self.environ.items() if which(n, text)})

    def private(self) -> list[str]:
        """Environment variables that the notebook set and that look too private to be stored."""
        return sorted(
            name
            for name, text in os.environ.items()
            if self.environ.get(name) != text and _SECRET.search(name)
        )

    def _get_path(self) -> Any:
        """What was added, by its index; or all there is, if it is not only that."""
        now = [place for place in sys.path if isinstance(place, str)]
        if now == self.path:
            return None
        added = [(i, self._moving(place)) for i, place in enumerate(now) if place not in self.path]
        if len(now) == len(self.path) + len(added) and now == self._path_with(added):
            return added
        known = {place: number for number, place in reversed(list(enumerate(self.path)))}
        return len(self.path), [known.get(place, self._moving(place)) for place in now]

    def _set_path(self, value: Any) -> None:
        if not isinstance(value, tuple):
            sys.path[:] = self._path_with(value or ())
            return
        many, places = value
        if many != len(self.path):
            raise RestoreError("sys.path was changed, and is not here what it was at the start")
        sys.path[:] = [self.path[p] if isinstance(p, int) else self._here(p) for p in places]

    def _path_with(self, added: Iterable[tuple[int, Any]]) -> list[str]:
        path = list(self.path)
        for index, place in added:
            path.insert(index, self._here(place))
        return path

    def _moving(self, place: str) -> str | tuple[str]:
        """A place as it is stored: in the working directory, it is where that is."""
        for directory in (self.cwd, self.author_cwd):
            if place == directory or place.startswith(f"{directory}/"):
                return (place[len(directory) :],)
        return place

    def _here(self, place: str | tuple[str]) -> str:
        return place if isinstance(place, str) else self.cwd + place[0]

    def _get_locale(self) -> Any:
        now = locale.setlocale(locale.LC_ALL)
        return None if now == self.locale else now

    def _set_locale(self, value: Any) -> None:
        locale.setlocale(locale.LC_ALL, value or self.locale)


Functions = tuple[Callable[[], Any], Callable[[Any], None]]


def _named(found: Mapping[str, Functions]) -> list[Provider]:
    return [Provider(f"{PREFIX}{n}>", get, set_) for n, (get, set_) in found.items()]


def _is_storable(name: str, text: str) -> bool:
    if _SECRET.search(name) or name.startswith(_BY_LIBRARIES):
        return False
    return _USUAL.get(name) != text


def _get_random() -> Any:
    return packed(random.getstate())


def _set_random(value: Any) -> None:
    if value is not None:
        random.setstate(value)


def _get_dask() -> Any:
    if "distributed" not in sys.modules:
        return None
    from nbrw_runtime import dask_contents

    return dask_contents.get()


def _set_dask(value: Any) -> None:
    if value is not None or "distributed" in sys.modules:
        from nbrw_runtime import dask_contents

        dask_contents.set_(value)


def _get_decimal() -> Any:
    now, usual = decimal.getcontext(), decimal.DefaultContext
    same = repr(now.copy()).partition("flags")[0] == repr(usual).partition("flags")[0]
    return None if same else now.copy()


def _set_decimal(value: Any) -> None:
    # In place: names may hold it.
    now, wanted = decimal.getcontext(), (value or decimal.DefaultContext).copy()
    for part in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(now, part, getattr(wanted, part))
    now.traps, now.flags = wanted.traps, wanted.flags  # type: ignore[misc]


def _get_warnings() -> Any:
    # Filters hold texts, or patterns that are pickled as what they were compiled from.
    return packed([tuple(entry) for entry in warnings.filters])


def _set_warnings(value: Any) -> None:
    if value is None:
        return
    warnings.resetwarnings()
    # Not by filterwarnings: it takes patterns only, and moves what is there already.
    warnings.filters[:] = value  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated", None)
    if changed is not None:
        changed()
