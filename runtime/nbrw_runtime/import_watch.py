"""Says when a module has been loaded, without loading it."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable
from typing import Any

Tell = Callable[[Any], None]


class _Watcher:
    """Finds the modules that are waited for as all others would."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Tell]] = {}
        self._here = threading.local()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self.waiting or name == getattr(self._here, "finding", ""):
            return None
        before, self._here.finding = getattr(self._here, "finding", ""), name
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._here.finding = before
        if spec is None or spec.loader is None:
            return spec
        original = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            original(module)
            # Not before: many only ask whether there is such a module.
            for tell in self.waiting.pop(name, ()):
                tell(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def when_loaded(name: str, tell: Tell) -> None:
    """Have this called with the module of this name as soon as it is loaded: now, if it is."""
    if name in sys.modules:
        tell(sys.modules[name])
        return
    watcher = next((found for found in sys.meta_path if isinstance(found, _Watcher)), None)
    if watcher is None:
        watcher = _Watcher()
        sys.meta_path.insert(0, watcher)  # type: ignore[arg-type]
    watcher.waiting.setdefault(name, []).append(tell)
