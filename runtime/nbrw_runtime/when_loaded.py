"""Says when the notebook has imported a module; imports nothing itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any


class _Watcher:
    """Finds one module as all others would, and says when it has been loaded."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[Callable[[Any], None]] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        original = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            original(module)
            for tell in self.waiting:
                tell(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def when_loaded(name: str, tell: Callable[[Any], None]) -> None:
    """Have this called with a module as soon as it has been imported; now, if it is."""
    if name in sys.modules:
        tell(sys.modules[name])
        return
    known = (found for found in sys.meta_path if isinstance(found, _Watcher))
    watcher = next((found for found in known if found.name == name), None)
    if watcher is None:
        watcher = _Watcher(name)
        sys.meta_path.insert(0, watcher)  # type: ignore[arg-type]
    watcher.waiting.append(tell)
