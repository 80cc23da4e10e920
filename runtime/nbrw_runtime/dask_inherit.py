"""Workers elsewhere get what they would have from a notebook that starts them.

A process inherits the environment, Python's path, the working directory and Dask's settings of
the one that starts it: here as they are when a client connects, where they differ from those that
the kernel began with.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from nbrw_runtime.by_value import made

_PLUGIN = """
from distributed.diagnostics.plugin import WorkerPlugin

class NbrwInherit(WorkerPlugin):
    name = "nbrw-inherit"

    def __init__(self, variables, path, cwd, settings):
        self.variables, self.path, self.cwd, self.settings = variables, path, cwd, settings

    def setup(self, worker):
        import dask, os, sys
        for name, text in self.variables.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
        sys.path[:0] = [place for place in self.path if place not in sys.path]
        if os.path.isdir(self.cwd):
            os.chdir(self.cwd)
        dask.config.update(dask.config.config, self.settings)
"""

_environ: dict[str, str] = {}
_path: list[str] = []


def begin() -> None:
    """The notebook has not run yet."""
    global _environ, _path
    _environ, _path = dict(os.environ), list(sys.path)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str | None]:
    """Variables that are new or different, and those that are gone."""
    found: dict[str, str | None] = {n: text for n, text in now.items() if before.get(n) != text}
    return found | {name: None for name in before if name not in now}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, nested as they are, that are new or different."""
    found: dict[str, Any] = {}
    for name, value in now.items():
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping):
            inner = differences(before[name], value)
            if inner:
                found[name] = inner
        elif name not in before or before[name] != value:
            found[name] = value
    return found


def ship(client: Any) -> None:
    """Have all workers of a client's cluster know, and those that are yet to come."""
    import dask

    settings = differences(dask.config.collect(), dask.config.config)
    for name in ("scheduler", "scheduler-address", "shuffle"):  # the client's own
        settings.pop(name, None)
    path = [place for place in sys.path if place and place not in _path]
    plugin = made(_PLUGIN, "NbrwInherit")
    client.register_plugin(plugin(changes(_environ, os.environ), path, os.getcwd(), settings))
