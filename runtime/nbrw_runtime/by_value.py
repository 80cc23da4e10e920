"""What is made from source, so that workers get it by value: they cannot import nbrw_runtime."""

from __future__ import annotations

from typing import Any

#: `setup` calls ``begin`` of the module with the ``orders``, `teardown` its ``end`` (empty: none).
_MODULE_PLUGIN = """
from distributed.diagnostics.plugin import WorkerPlugin

class NbrwModule(WorkerPlugin):
    def __init__(self, name, module, text, begin, orders, end):
        self.name, self.module, self.text = name, module, text
        self.begin, self.orders, self.end = begin, orders, end

    def setup(self, worker):
        import sys, types
        module = sys.modules.get(self.module)
        if module is None:
            module = types.ModuleType(self.module)
            exec(compile(self.text, f"<{self.module}>", "exec"), module.__dict__)
            sys.modules[self.module] = module
        module.worker = worker
        getattr(module, self.begin)(*self.orders)

    def teardown(self, worker):
        import sys
        if self.end:
            getattr(sys.modules[self.module], self.end)()
"""


def made(source: str, name: str) -> Any:
    """A function or class of this source."""
    # As if defined in a notebook: what is in __main__ is pickled by value.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


def module_plugin(
    name: str, module: str, text: str, begin: str, orders: tuple[Any, ...], end: str = ""
) -> Any:
    """A plugin of Dask's by which workers have a ``module`` of this text; its ``worker`` is theirs.

    They call its function ``begin`` with these ``orders`` at once, and ``end`` when they end.
    """
    return made(_MODULE_PLUGIN, "NbrwModule")(name, module, text, begin, orders, end)
