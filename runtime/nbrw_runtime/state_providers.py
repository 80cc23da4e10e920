"""State that lies in no variable: working directory, environment, random generators and the like.

Each provider reads its part as a value that can be pickled, and sets it. The values are stored
like variables, under names such as ``<nbrw:random>`` which no variable can have.
"""

from __future__ import annotations

import decimal
import locale
import logging
import os
import random
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbrw_runtime import library_settings
from nbrw_runtime.versions import PREFIX

_SECRET = re.compile(r"(token|secret|passw|credential|api_?key|private|auth)", re.IGNORECASE)
# Set by libraries when they are loaded, to the same value everywhere, or to their own process' id.
_BY_LIBRARIES = (
    "KMP_", "MPLBACKEND", "PYDEVD_", "CLICOLOR", "PAGER", "GIT_PAGER", "FORCE_COLOR", "__DASK_",
)  # fmt: skip


@dataclass(frozen=True)
class Provider:
    """``get`` returns None while all is as it was at the start; ``set`` takes what it gave."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]


class Baseline:
    """Process state as it was when the kernel started, against which changes are told."""

    def __init__(self, author_cwd: str, cwd: str) -> None:
        self.author_cwd = author_cwd
        self.cwd = cwd
        self.environ = dict(os.environ)
        self.path = list(sys.path)
        self.locale = locale.setlocale(locale.LC_ALL)

    def providers(self) -> tuple[Provider, ...]:
        """All providers, in the order in which they are set."""
        return (
            Provider(PREFIX + "cwd>", self._get_cwd, self._set_cwd),
            Provider(PREFIX + "environ>", self._get_environ, self._set_environ),
            Provider(PREFIX + "sys.path>", self._get_path, self._set_path),
            Provider(PREFIX + "random>", random.getstate, _set_random),
            Provider(PREFIX + "warnings>", _get_warnings, _set_warnings),
            Provider(PREFIX + "locale>", self._get_locale, self._set_locale),
            Provider(PREFIX + "decimal>", _get_decimal, _set_decimal),
            Provider(PREFIX + "logging>", _get_logging, _set_logging),
            *(
                Provider(f"{PREFIX}{name}>", get, set_)
                for name, (get, set_) in library_settings.SETTINGS.items()
            ),
        )

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
        now = dict(os.environ)
        changed = {
            name: text
            for name, text in now.items()
            if self.environ.get(name) != text and _is_storable(name)
        }
        gone = sorted(set(self.environ) - set(now))
        return (changed, gone) if changed or gone else None

    def _set_environ(self, value: Any) -> None:
        changed, gone = value or ({}, [])
        for name in [name for name in os.environ if _is_storable(name)]:
            if name not in self.environ:
                del os.environ[name]
        os.environ.update({n: text for n, text in self.environ.items() if _is_storable(n)})
        os.environ.update(changed)
        for name in gone:
            os.environ.pop(name, None)

    def _get_path(self) -> Any:
        added = [
            (index, place)
            for index, place in enumerate(sys.path)
            if place not in self.path and isinstance(place, str)
        ]
        return added or None

    def _set_path(self, value: Any) -> None:
        wanted = {place for _, place in value or ()}
        sys.path[:] = [place for place in sys.path if place in self.path or place in wanted]
        for index, place in value or ():
            if place not in sys.path:
                sys.path.insert(index, place)

    def _get_locale(self) -> Any:
        now = locale.setlocale(locale.LC_ALL)
        return None if now == self.locale else now

    def _set_locale(self, value: Any) -> None:
        locale.setlocale(locale.LC_ALL, value or self.locale)


def _is_storable(name: str) -> bool:
    return not _SECRET.search(name) and not name.startswith(_BY_LIBRARIES)


def secret_variables(baseline: Baseline) -> list[str]:
    """Environment variables that the notebook set and that look too private to be stored."""
    return sorted(
        name
        for name, text in os.environ.items()
        if baseline.environ.get(name) != text and _SECRET.search(name)
    )


def _set_random(value: Any) -> None:
    if value is not None:
        random.setstate(value)


def _get_decimal() -> Any:
    now, usual = decimal.getcontext(), decimal.DefaultContext
    same = repr(now.copy()).partition("flags")[0] == repr(usual).partition("flags")[0]
    return None if same else now.copy()


def _set_decimal(value: Any) -> None:
    decimal.setcontext((value or decimal.DefaultContext).copy())


def _get_logging() -> Any:
    # Loggers of libraries are set by these when they are loaded.
    level = logging.getLogger().level
    return None if level == logging.WARNING else level


def _set_logging(value: Any) -> None:
    logging.getLogger().setLevel(logging.WARNING if value is None else value)


def _get_warnings() -> Any:
    # Filters hold texts, or patterns that are pickled as what they were compiled from.
    return [tuple(entry) for entry in warnings.filters]


def _set_warnings(value: Any) -> None:
    if value is None:
        return
    warnings.resetwarnings()
    # Not by filterwarnings: it takes patterns only, and moves what is there already.
    warnings.filters[:] = value  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated", None)
    if changed is not None:
        changed()
