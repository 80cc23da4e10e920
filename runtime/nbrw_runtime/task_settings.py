"""Settings of libraries that tasks in the notebook's own process may come to something else by.

Workers have their own; here a task sees what a cell has set. Only what is not as usual counts, so
that it is the same whether a library is loaded or not.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from nbrw_runtime.dask_inherit import differences
from nbrw_runtime.library_settings import SETTINGS

#: Those whose readers give None for what is usual, and that are no generators.
_READ = ("numpy", "pandas", "sklearn", "torch")
# What says how and where Dask computes, and what is only for its clusters.
_HOW = ("scheduler", "scheduler-address", "shuffle", "pool", "num_workers", "distributed",
        "temporary-directory", "temporary_directory")  # fmt: skip
_XARRAY = {
    "arithmetic_join": "inner", "keep_attrs": "default", "use_bottleneck": True,
    "use_flox": True, "use_numbagg": True, "use_opt_einsum": True,
}  # fmt: skip
_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")  # flags tell of the past


def unusual_settings() -> dict[str, Any]:
    """By library, those that are not as usual."""
    found = {name: SETTINGS[name][0]() for name in _READ}
    found["dask"] = _of_dask()
    found["xarray"] = _of_xarray()
    found["decimal"] = _of_decimal()
    return {name: value for name, value in found.items() if value}


def settings_digest(digest_of: Callable[[Any], Sequence[Any]]) -> str:
    """One digest of them; empty if all are as usual. ``digest_of`` may raise Refused."""
    found = unusual_settings()
    return str(digest_of(found)[0]) if found else ""


def _of_dask() -> dict[str, Any]:
    config: Any = sys.modules.get("dask.config")
    if config is None:
        return {}
    usual = config.merge(*config.defaults, _collected())
    now = {name: value for name, value in config.config.items() if name not in _HOW}
    return differences(usual, now)


@functools.lru_cache(maxsize=1)
def _collected() -> dict[str, Any]:
    """What Dask finds in files and in the environment."""
    import dask.config

    found: dict[str, Any] = dask.config.collect()
    return found


def _of_xarray() -> dict[str, Any]:
    options = getattr(sys.modules.get("xarray.core.options"), "OPTIONS", {})
    return {n: options[n] for n, usual in _XARRAY.items() if options.get(n, usual) != usual}


def _of_decimal() -> dict[str, Any]:
    decimal: Any = sys.modules.get("decimal")
    if decimal is None:
        return {}
    found = {}
    for name, context in (("here", decimal.getcontext()), ("usual", decimal.DefaultContext)):
        traps = sorted(kind.__name__ for kind, is_set in context.traps.items() if is_set)
        found[name] = [*(getattr(context, part) for part in _DECIMAL), traps]
    return found if found != _usual_decimal() else {}


def _usual_decimal() -> dict[str, Any]:
    traps = ["DivisionByZero", "InvalidOperation", "Overflow"]
    usual = [28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0, traps]
    return {"here": usual, "usual": usual}
