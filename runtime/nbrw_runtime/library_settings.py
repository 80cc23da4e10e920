"""Settings and generators of libraries, for those that are loaded: how to read and set them.

Each reader gives None while the library is not loaded, or while its settings are the usual ones.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_PRINTING = {
    "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False,
    "linewidth": 75, "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None,
    "legacy": False, "override_repr": None,
}  # fmt: skip


def _get_numpy() -> Any:
    numpy = sys.modules.get("numpy")
    module = sys.modules.get("numpy.random")
    if numpy is None or module is None:
        return None
    return module.get_state()


def _set_numpy(value: Any) -> None:
    if value is None:
        return
    import numpy

    numpy.random.set_state(value)


def _get_numpy_settings() -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "get_printoptions"):
        return None
    now = numpy.get_printoptions()
    printing = {name: now[name] for name in now if now[name] != _PRINTING.get(name)}
    errors = {name: how for name, how in numpy.geterr().items() if _ERRORS.get(name) != how}
    return (printing, errors) if printing or errors else None


def _set_numpy_settings(value: Any) -> None:
    if value is None and "numpy" not in sys.modules:
        return
    import numpy

    printing, errors = value or ({}, {})
    known = numpy.get_printoptions()
    numpy.set_printoptions(**{n: v for n, v in {**_PRINTING, **printing}.items() if n in known})
    numpy.seterr(**{**_ERRORS, **errors})


def _get_pandas() -> Any:
    config = sys.modules.get("pandas._config.config")
    known = getattr(config, "_registered_options", None)
    if known is None:
        return None
    changed = {}
    for key, option in known.items():
        # Asking by get_option would warn of deprecated ones, in the notebook.
        group, name = config._get_root(key)  # type: ignore[union-attr]
        value = group[name]
        if value is not option.defval and value != option.defval:
            changed[key] = value
    return changed or None


def _set_pandas(value: Any) -> None:
    if value is None and "pandas" not in sys.modules:
        return
    import pandas

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in set(_get_pandas() or ()) - set(value or ()):
            pandas.reset_option(key)
        for key, setting in (value or {}).items():
            pandas.set_option(key, setting)


def _get_matplotlib() -> Any:
    module = sys.modules.get("matplotlib")
    params = getattr(module, "rcParams", None)
    if params is None:
        return None
    skip = {"backend", "backend_fallback"}
    return {name: dict.__getitem__(params, name) for name in params if name not in skip}


def _set_matplotlib(value: Any) -> None:
    if value is None:
        return
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
    if value is None:
        return
    import dask

    config = dask.config.config
    for key in set(_get_dask() or ()) - set(value):
        del config[key]
    config.update(value)


#: Name -> (reader, setter).
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "numpy.random": (_get_numpy, _set_numpy),
    "numpy": (_get_numpy_settings, _set_numpy_settings),
    "pandas": (_get_pandas, _set_pandas),
    "matplotlib": (_get_matplotlib, _set_matplotlib),
    "dask.config": (_get_dask, _set_dask),
}
