"""What is made from source, so that workers get it by value: they cannot import nbrw_runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PROVIDE = """
def provide(name, text):
    import sys, types
    module = sys.modules.get(name)
    if module is None or getattr(module, "text", text) != text:  # that of another release of nbrw
        module = types.ModuleType(name)
        exec(compile(text, f"<{name}>", "exec"), module.__dict__)
        module.text = text
        sys.modules[name] = module
    return module
"""
_WORKER_PLUGIN = """
from distributed.diagnostics.plugin import WorkerPlugin

class NbrwModule(WorkerPlugin):
    def __init__(self, name, module, text, begin, orders, end):
        self.name, self.module, self.text = name, module, text
        self.begin, self.orders, self.end = begin, orders, end

    def setup(self, worker):
        module = provide(self.module, self.text)
        module.worker = worker
        getattr(module, self.begin)(*self.orders)

    def teardown(self, worker):
        import sys
        if self.end:
            getattr(sys.modules[self.module], self.end)(*self.orders)
"""
_SCHEDULER_PLUGIN = """
from distributed.diagnostics.plugin import SchedulerPlugin

class NbrwModule(SchedulerPlugin):
    def __init__(self, name, module, text):
        self.name, self.module, self.text = name, module, text

    async def start(self, scheduler):
        provide(self.module, self.text)
"""
_FUTURE = "from __future__ import annotations\n"
_AMONG_THEMSELVES = "from nbrw_runtime."


def made(source: str, name: str) -> Any:
    """A function or class of this source."""
    # As if defined in a notebook: what is in __main__ is pickled by value.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


def joined(parts: Sequence[str]) -> str:
    """The text of one module that is made of these files, each of which may import earlier ones."""
    lines = [_FUTURE]
    for name in parts:
        part = Path(__file__).with_name(name).read_text(encoding="utf-8")
        lines += part.replace(_FUTURE, "").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_AMONG_THEMSELVES))


def module_plugin(
    name: str, module: str, text: str, begin: str, orders: tuple[Any, ...], end: str = ""
) -> Any:
    """A plugin of Dask's by which workers have a ``module`` of this text; its ``worker`` is theirs.

    They call its function ``begin`` with these ``orders`` at once, and ``end`` when they end.
    """
    kind = made(_PROVIDE + _WORKER_PLUGIN, "NbrwModule")
    return kind(name, module, text, begin, orders, end)


def scheduler_plugin(name: str, module: str, text: str) -> Any:
    """A plugin of Dask's by which a scheduler has a ``module`` of this text."""
    return made(_PROVIDE + _SCHEDULER_PLUGIN, "NbrwModule")(name, module, text)
