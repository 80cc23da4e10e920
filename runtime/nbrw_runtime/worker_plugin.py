"""Has the workers of a cluster know the module ``nbrw_worker_witness``, and calls it there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from nbrw_runtime.by_value import made, module_plugin

NAME = "nbrw-witness"
_MODULE = "nbrw_worker_witness"
_ASK = f"""
def ask(name, *arguments):
    import sys
    return getattr(sys.modules[{_MODULE!r}], name)(*arguments)
"""
_PARTS = ("file_facts.py", "window.py", "audit_hook.py", "worker_witness.py")
_AMONG_THEMSELVES = "from nbrw_runtime."


def text() -> str:
    """The text of the module: that of its parts, one after the other."""
    future = "from __future__ import annotations\n"
    lines = [future]
    for name in _PARTS:
        part = Path(__file__).with_name(name).read_text(encoding="utf-8")
        lines += part.replace(future, "").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(_AMONG_THEMSELVES))


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
        client._run, made(_ASK, "ask"), name, *arguments, workers=list(workers),
        on_error="return", callback_timeout=seconds,
    )  # fmt: skip
    return dict(found)
