"""Has the workers of a cluster know the module ``nbrw_worker_witness``, and calls it there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from nbrw_runtime.by_value import joined, made, module_plugin

NAME = "nbrw-witness"
_MODULE = "nbrw_worker_witness"
_ASK = """
def ask(module, name, *arguments):
    import sys
    return getattr(sys.modules[module], name)(*arguments)
"""
_PARTS = (
    "file_facts.py", "window.py", "audit_hook.py", "process_identity.py", "worker_witness.py",
)  # fmt: skip


def text() -> str:
    """The text of the module."""
    return joined(_PARTS)


def plugin(audit: str, kernel: list[Any]) -> Any:
    """The plugin, for this ``audit``; ``kernel`` is the identity of the process that asks."""
    return module_plugin(NAME, _MODULE, text(), "begin", (audit, kernel), "end")


def ask(
    client: Any, workers: Collection[str], seconds: float, name: str, *arguments: Any
) -> dict[str, Any]:
    """Call a function of the module on workers; what each answers, or its exception.

    Raises TimeoutError, and what Dask raises.
    """
    if not workers:
        return {}
    found = client.sync(
        client._run, function(), _MODULE, name, *arguments, workers=list(workers),
        on_error="return", callback_timeout=seconds,
    )  # fmt: skip
    return dict(found)


def function() -> Any:
    """Calls a function of a module on a worker, by the names of both."""
    return made(_ASK, "ask")
