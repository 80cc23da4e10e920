"""Arrays and frames in a task's fingerprint: type, shape and content; how memory is laid out only
as far as it changes results (Fortran order changes how sums are rounded).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

from nbrw_runtime.task_refused import Refused


def handler(kind: type) -> Callable[[Any, Any], None] | None:
    """What writes an object of this very type; None if it is none of these."""
    known = _BY_NAME.get((kind.__module__.partition(".")[0], kind.__name__))
    if known is not None and kind.__module__ in sys.modules:
        return known
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if issubclass(kind, numpy.generic) and kind.__module__ == "numpy":
            return _add_scalar
        if issubclass(kind, numpy.ufunc):
            return _add_ufunc
        if issubclass(kind, numpy.dtype):
            return _add_dtype
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and issubclass(kind, pyarrow.Array):
        return _add_arrow
    return None


def _add_array(walker: Any, array: Any) -> None:
    if walker.again(array):
        return
    dtype = array.dtype
    walker.text("array", type(array).__name__)
    walker.walk(dtype)
    walker.walk(array.shape)
    if dtype.hasobject or dtype.kind == "T" or dtype.char not in "?bhilqpBHILQPefdgFDGSUVmM":
        walker.walk(array.ravel().tolist())
        return
    fortran = array.flags.fnc
    walker.text("by column" if fortran else "by row")
    data = array.T if fortran else array
    if dtype.char in "gG":  # with padding that is not content
        walker.walk([repr(number) for number in data.ravel()])
        return
    if dtype.names is not None:  # the same, between fields
        for name in dtype.names:
            _add_array(walker, data[name].copy())
        return
    walker.out += _digest(data)


def _digest(array: Any) -> bytes:
    import numpy

    array = numpy.ascontiguousarray(array)
    return hashlib.sha256(array.reshape(-1).view("u1")).digest()


def _add_scalar(walker: Any, value: Any) -> None:
    import numpy

    walker.text("scalar")
    _add_array(walker, numpy.asarray(value).copy())


def _add_dtype(walker: Any, dtype: Any) -> None:
    walker.text("dtype", dtype.str)
    walker.walk(dtype.__reduce__()[1:])


def _add_ufunc(walker: Any, value: Any) -> None:
    name = value.__name__
    for module in ("numpy", "scipy.special"):
        found = getattr(sys.modules.get(module), name, None)
        if found is value:
            walker.text("ufunc", name, walker.modules.identity(module))
            walker.note("library", module.partition(".")[0], walker.modules.version)
            return
    raise Refused(f"the ufunc `{name}`, which no import finds", value)


def _add_frame(walker: Any, frame: Any) -> None:
    if walker.again(frame):
        return
    walker.text("frame")
    walker.walk(frame.columns)
    walker.walk(frame.index)
    for values in _columns(frame):
        walker.walk(values)
    _add_notes(walker, frame)


def _columns(frame: Any) -> Any:
    arrays = getattr(frame, "_iter_column_arrays", None)
    if arrays is not None:  # without a Series for each
        return arrays()
    return (frame.iloc[:, number]._values for number in range(frame.shape[1]))


def _add_series(walker: Any, series: Any) -> None:
    if walker.again(series):
        return
    walker.text("series")
    walker.walk(series.name)
    walker.walk(series.index)
    walker.walk(series._values)
    _add_notes(walker, series)


def _add_notes(walker: Any, value: Any) -> None:
    walker.walk((value.attrs, value.flags.allows_duplicate_labels))


def _add_arrow(walker: Any, value: Any) -> None:
    """An array, chunked or not: chunks and offsets are no content."""
    import pyarrow

    if walker.again(value):
        return
    walker.text("arrow", type(value).__name__)
    chunks = value.chunks if isinstance(value, pyarrow.ChunkedArray) else [value]
    whole = pyarrow.concat_arrays(chunks) if chunks else pyarrow.array([], value.type)
    if whole.offset or len(chunks) != 1:
        whole = whole.take(pyarrow.array(range(len(whole)), pyarrow.int64()))
    batch = pyarrow.record_batch([whole], names=["values"])
    walker.out += hashlib.sha256(_stream(batch)).digest()


def _add_table(walker: Any, value: Any) -> None:
    if walker.again(value):
        return
    walker.text("arrow", type(value).__name__)
    walker.walk(value.schema.serialize().to_pybytes())
    for column in value.columns:
        _add_arrow(walker, column)


def _stream(batch: Any) -> Any:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _add_arrow_extension(walker: Any, value: Any) -> None:
    walker.text("arrow extension", type(value).__name__)
    walker.walk(type(value))
    walker.walk(value.dtype)
    walker.walk(value._pa_array)


_BY_NAME: dict[tuple[str, str], Callable[[Any, Any], None]] = {
    ("numpy", "ndarray"): _add_array,
    ("numpy", "memmap"): _add_array,
    ("pandas", "DataFrame"): _add_frame,
    ("pandas", "Series"): _add_series,
    ("pandas", "ArrowExtensionArray"): _add_arrow_extension,
    ("pandas", "ArrowStringArray"): _add_arrow_extension,
    ("pyarrow", "ChunkedArray"): _add_arrow,
    ("pyarrow", "Table"): _add_table,
    ("pyarrow", "RecordBatch"): _add_table,
}
