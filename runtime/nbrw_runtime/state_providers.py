"""State that lies in no variable: working directory, environment, random generators and the like.

Each provider reads its part as a value that can be pickled, and sets it. The values are stored
like variables, under names such as ``<nbrw:random>`` which no variable can have.
"""

from __future__ import annotations

import os
import random
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbrw_runtime.versions import PREFIX

_SECRET = re.compile(r"(token|secret|passw|credential|api_?key|private|auth)", re.IGNORECASE)
# Set by libraries when they are loaded, to the same value everywhere.
_BY_LIBRARIES = ("KMP_", "MPLBACKEND", "PYDEVD_", "CLICOLOR", "PAGER", "GIT_PAGER", "FORCE_COLOR")


@dataclass(frozen=True)
class Provider:
    """``get`` returns None while there is nothing to say; ``set`` takes what ``get`` gave."""

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

    def providers(self) -> tuple[Provider, ...]:
        """All providers, in the order in which they are set."""
        return (
            Provider(PREFIX + "cwd>", self._get_cwd, self._set_cwd),
            Provider(PREFIX + "environ>", self._get_environ, self._set_environ),
            Provider(PREFIX + "sys.path>", self._get_path, self._set_path),
            Provider(PREFIX + "random>", random.getstate, random.setstate),
            Provider(PREFIX + "numpy.random>", _get_numpy, _set_numpy),
            Provider(PREFIX + "warnings>", _get_warnings, _set_warnings),
            Provider(PREFIX + "matplotlib>", _get_matplotlib, _set_matplotlib),
            Provider(PREFIX + "dask.config>", _get_dask, _set_dask),
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
        where, path = value
        os.chdir(os.path.join(self.cwd, path) if where == "in" else path)

    def _get_environ(self) -> Any:
        now = dict(os.environ)
        changed = {
            name: text
            for name, text in now.items()
            if self.environ.get(name) != text
            and not _SECRET.search(name)
            and not name.startswith(_BY_LIBRARIES)
        }
        gone = sorted(set(self.environ) - set(now))
        return (changed, gone) if changed or gone else None

    def _set_environ(self, value: Any) -> None:
        changed, gone = value
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
        for index, place in value:
            if place not in sys.path:
                sys.path.insert(index, place)


def secret_variables(baseline: Baseline) -> list[str]:
    """Environment variables that the notebook set and that look too private to be stored."""
    return sorted(
        name
        for name, text in os.environ.items()
        if baseline.environ.get(name) != text and _SECRET.search(name)
    )


def _get_numpy() -> Any:
    numpy = sys.modules.get("numpy")
    module = sys.modules.get("numpy.random")
    if numpy is None or module is None:
        return None
    return module.get_state()


def _set_numpy(value: Any) -> None:
    import numpy

    numpy.random.set_state(value)


def _get_warnings() -> Any:
    # Filters hold texts, or patterns that are pickled as what they were compiled from.
    return [tuple(entry) for entry in warnings.filters]


def _set_warnings(value: Any) -> None:
    warnings.resetwarnings()
    # Not by filterwarnings: it takes patterns only, and moves what is there already.
    warnings.filters[:] = value  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated", None)
    if changed is not None:
        changed()


def _get_matplotlib() -> Any:
    module = sys.modules.get("matplotlib")
    params = getattr(module, "rcParams", None)
    if params is None:
        return None
    skip = {"backend", "backend_fallback"}
    return {name: dict.__getitem__(params, name) for name in params if name not in skip}


def _set_matplotlib(value: Any) -> None:
    import matplotlib

    for name, setting in value.items():
        if name in matplotlib.rcParams:
            dict.__setitem__(matplotlib.rcParams, name, setting)


def _get_dask() -> Any:
    module = sys.modules.get("dask.config")
    config = getattr(module, "config", None)
    if config is None:
        return None
    # A connected Client makes itself the scheduler; the restored one does so again.
    return {key: value for key, value in config.items() if key not in ("scheduler", "shuffle")}


def _set_dask(value: Any) -> None:
    import dask

    dask.config.config.update(value)
