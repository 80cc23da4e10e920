"""Whether a task changes what it is given: an input that others use, too, is then another for them.

Its text is sent to workers before that of `task_worker.py`, as one module: it imports nothing but
the standard library, and what a worker has in any case.
"""

import functools
import hashlib
import sys

#: Of these libraries values change by what a notebook's own code shows: an assignment, `inplace`.
_PLAIN = frozenset(
    {"builtins", "collections", "dask", "datetime", "decimal", "distributed", "fractions",
     "functools", "numpy", "pandas", "pathlib", "polars", "pyarrow", "scipy", "xarray"}
)  # fmt: skip
_CONSTANT = frozenset({bool, int, float, complex, str, bytes, range, type(None), type(...)})
_MANY = 100  # items of a container that are looked at for what they are


class Inputs:
    """The inputs of a task that is about to run. ``looked``: which of them others may use, in
    order; ``changes``: the notebook's code in it may change plain values.
    """

    def __init__(self, inputs, looked, changes):
        values = list(inputs.values())
        unless = _is_constant if changes else _is_plain
        self._values = {n: values[n] for n in looked if not unless(values[n])}
        self._sure = changes
        self._before = self._digests()

    def changed(self):
        """Which of them are not what they were, or may not be."""
        if not self._values:
            return []
        now = self._digests()
        unknown = [n for n, digest in now.items() if not digest and self._sure]
        return unknown + [n for n, digest in now.items() if digest and digest != self._before[n]]

    def _digests(self):
        return {n: _digest_of_value(value) for n, value in self._values.items()}


def _is_constant(value):
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, value))
    numpy = sys.modules.get("numpy")
    # Who takes from an iterator uses it up in any case, and it is not stored.
    return (
        type(value) in _CONSTANT
        or (numpy is not None and isinstance(value, numpy.generic))
        or hasattr(value, "__next__")
    )


def _is_plain(value):
    if type(value) in (list, tuple, set, frozenset, dict):
        parts = value.values() if type(value) is dict else value
        return all(_is_plain(part) for part, _ in zip(parts, range(_MANY)))  # noqa: B905
    return type(value).__module__.partition(".")[0] in _PLAIN


class _Sink:
    def __init__(self):
        self.total = hashlib.sha256()

    def write(self, data):
        self.total.update(data)


def _digest_of_value(value):
    """Another one if anything in a value changes; empty: it cannot be told."""
    sink = _Sink()
    buffers: list = []
    try:
        _looker()(sink, protocol=5, buffer_callback=buffers.append).dump(value)
        for buffer in buffers:
            sink.write(buffer.raw())
    except Exception:
        return ""
    return sink.total.hexdigest()


@functools.lru_cache(maxsize=1)
def _looker():
    import cloudpickle

    class Looker(cloudpickle.Pickler):
        def reducer_override(self, obj):
            frames = sys.modules.get("pandas")
            if frames is not None and type(obj) is frames.DataFrame:
                # To look at a frame may put its columns together in other blocks.
                columns = [obj.iloc[:, n].array for n in range(obj.shape[1])]
                return list, ((obj.columns, obj.index, columns, obj.attrs),)
            found = super().reducer_override(obj)
            if found is NotImplemented and _has_memory(type(obj)):  # type: ignore[arg-type]
                found = _without_memory(obj)
            return found

    return Looker


@functools.lru_cache(maxsize=1000)
def _has_memory(kind):
    """Whether objects keep what was once worked out of them."""
    if issubclass(kind, type):
        return False
    members = (member for base in kind.__mro__ for member in vars(base).values())
    return any(isinstance(member, functools.cached_property) for member in members)


def _without_memory(obj):
    """How such an object is reduced, without that: to ask it something changes nothing."""
    reduced = list(obj.__reduce_ex__(5))
    if len(reduced) > 2 and type(reduced[2]) is dict:
        kind, state = type(obj), reduced[2]
        kept = {
            name: value
            for name, value in state.items()
            if not isinstance(getattr(kind, name, None), functools.cached_property)
        }
        reduced[2] = kept
    return tuple(reduced)
