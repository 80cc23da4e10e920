"""Settings and generators of libraries, for those that are loaded: how to read and set them.

Each reader gives None while the library is not loaded, or while its settings are the usual ones.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from nbrw_runtime.codec_kinds import packed
from nbrw_runtime.errors import RestoreError
from nbrw_runtime.import_watch import when_loaded

#: The settings that Dask gets when it is loaded; empty: none wait.
_for_dask: list[dict[str, Any]] = []
_WINDOWLESS = {"agg", "cairo", "inline", "ipympl.backend_nbagg", "ipympl", "nbagg", "notebook",
               "widget", "pdf", "pgf", "ps", "svg", "template", "webagg"}  # fmt: skip
_LEARNING = {
    "assume_finite": False, "working_memory": 1024, "print_changed_only": True,
    "display": "diagram", "pairwise_dist_chunk_size": 256, "enable_cython_pairwise_dist": True,
    "array_api_dispatch": False, "transform_output": "default", "enable_metadata_routing": False,
    "skip_parameter_validation": False, "sparse_interface": "spmatrix",
}  # fmt: skip
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
    return packed(module.get_state())


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


_options: tuple[int, list[tuple[dict[str, Any], str, Any, str]]] = (0, [])


def _get_pandas() -> Any:
    global _options
    config = sys.modules.get("pandas._config.config")
    known = getattr(config, "_registered_options", None)
    if known is None:
        return None
    if len(known) != _options[0]:
        # Asking by get_option would warn of deprecated ones, in the notebook.
        places = [(*config._get_root(key), known[key].defval, key) for key in known]  # type: ignore[union-attr]
        _options = (len(known), places)
    changed = {}
    for group, name, usual, key in _options[1]:
        value = group[name]
        if value is not usual and value != usual:
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
    # Its own way to an item, and dict's copy of it, would choose a backend, and load pyplot.
    skip = ("backend", "backend_fallback")
    return packed({n: dict.__getitem__(params, n) for n in dict.keys(params) if n not in skip})


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
        return packed(_for_dask[0]) if _for_dask else None
    # A connected Client makes itself the scheduler; the restored one does so again.
    now = {key: value for key, value in config.items() if key not in ("scheduler", "shuffle")}
    return packed(now)


def _set_dask(value: Any) -> None:
    if value is None:
        return
    # Most cells of a notebook that uses Dask can do without it, and it takes half a second.
    waits = bool(_for_dask)
    _for_dask[:] = [value]
    if not waits:
        when_loaded("dask", _set_loaded_dask)


def _set_loaded_dask(dask: Any) -> None:
    (value,) = _for_dask
    _for_dask.clear()
    with dask.config.config_lock:
        config = dask.config.config
        own = {key: config[key] for key in ("scheduler", "shuffle") if key in config}
        config.clear()  # so that they are in the order that they had
        config.update(value)
        config.update(own)


def _get_sklearn() -> Any:
    module = sys.modules.get("sklearn._config")
    if module is None or not hasattr(module, "get_config"):
        return None
    now = module.get_config()
    return {name: value for name, value in now.items() if value != _LEARNING.get(name)} or None


def _set_sklearn(value: Any) -> None:
    if value is None and "sklearn" not in sys.modules:
        return
    import sklearn

    known = sklearn.get_config()
    wanted = {**_LEARNING, **(value or {})}
    sklearn.set_config(**{name: setting for name, setting in wanted.items() if name in known})


def _get_xarray() -> Any:
    module = sys.modules.get("xarray.core.options")
    options = getattr(module, "OPTIONS", None)
    return None if options is None else packed(dict(options))


def _set_xarray(value: Any) -> None:
    if value is None:
        return
    import xarray.core.options as options

    options.OPTIONS.update(value)  # type: ignore[typeddict-item]


def _get_torch_random() -> Any:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return None
    return torch.get_rng_state().numpy().tobytes()


def _set_torch_random(value: Any) -> None:
    if value is None:
        return
    import torch

    torch.set_rng_state(torch.frombuffer(bytearray(value), dtype=torch.uint8))


def _get_torch() -> Any:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_dtype"):
        return None
    now = (
        str(torch.get_default_dtype()).rpartition(".")[2],
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )
    return None if now == ("float32", True, False) else now


def _set_torch(value: Any) -> None:
    if value is None and "torch" not in sys.modules:
        return
    import torch

    dtype, gradients, deterministic = value or ("float32", True, False)
    torch.set_default_dtype(getattr(torch, dtype))
    torch.set_grad_enabled(gradients)
    torch.use_deterministic_algorithms(deterministic)


class OpenFigures:
    """Figures that pyplot holds. They cannot be brought back: names of the notebook may hold parts
    of them, too. What they show is their version.
    """

    def __init__(self, figures: dict[int, Any]) -> None:
        self.figures = figures

    def __reduce__(self) -> Any:
        return _no_figures, (self.figures,)


def _no_figures(figures: Any) -> Any:
    raise RestoreError("figures that are open in pyplot are not brought back")


def get_open_figures() -> Any:
    """None if pyplot has no figure, as the inline backend closes them after each cell."""
    managers = getattr(sys.modules.get("matplotlib._pylab_helpers"), "Gcf", None)
    if managers is None or not managers.figs:
        return None
    return OpenFigures({n: manager.canvas.figure for n, manager in managers.figs.items()})


class Backend:
    """The backend of matplotlib, against that of the kernel's environment."""

    def __init__(self) -> None:
        self.usual = _plain_backend(os.environ.get("MPLBACKEND", ""))

    def get(self) -> Any:
        """Its name, or None if it is the usual one, or not decided yet."""
        params: Any = getattr(sys.modules.get("matplotlib"), "rcParams", None)
        name = None if params is None else dict.get(params, "backend")
        if not isinstance(name, str) or _plain_backend(name) == self.usual:
            return None
        return name

    def set(self, value: Any) -> None:
        """Choose it. Raises RestoreError for one that opens windows."""
        name = value or self.usual
        if not name or (value is None and self.get() is None):
            return
        if _plain_backend(name) not in _WINDOWLESS:
            raise RestoreError(f"the backend {name!r} of matplotlib opens windows")
        import matplotlib

        matplotlib.use(name)


def _plain_backend(name: str) -> str:
    return name.lower().removeprefix("module://").removeprefix("matplotlib_inline.backend_")


#: Name -> (reader, setter).
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "numpy.random": (_get_numpy, _set_numpy),
    "numpy": (_get_numpy_settings, _set_numpy_settings),
    "pandas": (_get_pandas, _set_pandas),
    "matplotlib": (_get_matplotlib, _set_matplotlib),
    "dask.config": (_get_dask, _set_dask),
    "sklearn": (_get_sklearn, _set_sklearn),
    "xarray": (_get_xarray, _set_xarray),
    "torch.random": (_get_torch_random, _set_torch_random),
    "torch": (_get_torch, _set_torch),
}
