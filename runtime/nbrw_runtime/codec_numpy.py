"""numpy arrays: those that share memory still do afterwards; heirs of arrays keep what they add."""

from __future__ import annotations

import array as plain_arrays
import mmap
import os
from typing import Any

from nbrw_runtime.codec_refused import Unstorable

_FEW = 4  # a view comes with all of its array if that is so many times larger, at most
_FLAGS = ("_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict")


def handler_of(kind: type) -> Any:
    """For types of numpy, and their heirs; None: as they say themselves."""
    import numpy

    if kind is numpy.ndarray:
        return reduce_array
    if issubclass(kind, numpy.dtype):
        return _reduce_dtype
    if not issubclass(kind, numpy.ndarray):
        return None
    if kind is numpy.ma.MaskedArray:
        return _reduce_masked
    if issubclass(kind, numpy.memmap):
        return _reduce_map
    own = kind.__reduce__ is numpy.ndarray.__reduce__
    if own and kind.__reduce_ex__ is numpy.ndarray.__reduce_ex__:
        # recarray has a way of its own, but only for its type of rows.
        return _reduce_heir
    return _reduce_heir if kind is numpy.recarray else None


def _reduce_dtype(pickler: Any, dtype: Any) -> Any:
    found = dtype.__reduce__()
    # The fields of rows are said by a dictionary that all arrays of this type have.
    pickler.one_for_all.update(id(p) for p in found[2] if type(p) is dict)
    return found


def root_of(array: Any) -> Any:
    """The array that owns the memory, or is nearest to its owner."""
    import numpy

    while isinstance(array.base, numpy.ndarray):
        array = array.base
    return array


def owner_of(array: Any) -> Any:
    """The object that owns an array's memory, of whatever kind."""
    owner = array
    while (base := getattr(owner, "base", None)) is not None:
        owner = base
    return owner.obj if isinstance(owner, memoryview) else owner


def reduce_array(pickler: Any, array: Any) -> Any:
    """Note whose memory an array uses, and reduce it to a view of that if others use it too."""
    import numpy

    if id(array) in pickler.one_for_all:
        return NotImplemented
    pickler.memory.add(id(owner_of(array)))
    if id(array) in pickler.apart:
        return NotImplemented
    root = root_of(array)
    if type(root) is not numpy.ndarray and not isinstance(root, numpy.memmap):
        root = root.view(numpy.ndarray)
    pickler.kept[("root", id(root))] = root
    _, users = pickler.roots.setdefault(id(root), (root, set()))
    users.add(id(array))
    if array is root:
        return _reduce_root(root)
    wanted = id(root) in pickler.keep_views or _is_odd(array, root)
    if not wanted or not _can_view(root, array):
        return NotImplemented
    offset = _start(array) - _start(root)
    described = (root, offset, array.shape, array.strides, array.dtype)
    writeable = bool(array.flags.writeable)
    try:
        make_view(*described, writeable)
    except (ValueError, TypeError):  # memory that its root does not show in full
        return NotImplemented
    return make_view, (*described, writeable)


def _start(array: Any) -> int:
    return array.__array_interface__["data"][0]


def _is_odd(array: Any, root: Any) -> bool:
    """Whether a copy would have another layout, or much more memory."""
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return False
    return root.nbytes <= _FEW * array.nbytes + 4096


def _can_view(root: Any, array: Any) -> bool:
    if not array.size or not (root.flags.c_contiguous or root.flags.f_contiguous):
        return False
    if root.dtype.hasobject or array.dtype.hasobject:
        return root.dtype == array.dtype and root.dtype.kind == "O"
    return True


def make_view(root: Any, offset: int, shape: Any, strides: Any, dtype: Any, writeable: bool) -> Any:
    """An array on the memory of another."""
    import numpy

    if dtype.kind == "O":
        flat = root.ravel(order="K")[offset // dtype.itemsize :]
        view = numpy.lib.stride_tricks.as_strided(flat, shape, strides)
    else:
        flat = numpy.asarray(root).ravel(order="K").view(numpy.uint8)
        view = numpy.ndarray(shape, dtype, buffer=flat, offset=offset, strides=strides)
    if not writeable:
        view.flags.writeable = False
    return view


def _reduce_root(root: Any) -> Any:
    """An array on the memory of something that is no array shares it with that."""
    owner = root.base
    if owner is None:
        return NotImplemented
    if isinstance(owner, memoryview):
        owner = owner.obj
    if isinstance(owner, mmap.mmap):
        raise Unstorable("an array on a memory map cannot be stored")
    if type(owner) not in (bytearray, plain_arrays.array):
        return NotImplemented
    import numpy

    offset = _start(root) - _start(numpy.frombuffer(owner, numpy.uint8))
    return array_on, (owner, offset, root.shape, root.strides, root.dtype, root.flags.writeable)


def array_on(owner: Any, offset: int, shape: Any, strides: Any, dtype: Any, writeable: bool) -> Any:
    """An array on the memory of a bytearray or the like."""
    import numpy

    found = numpy.ndarray(shape, dtype, buffer=owner, offset=offset, strides=strides)
    if not writeable:
        found.flags.writeable = False
    return found


# -- heirs ---------------------------------------------------------------------------------------


def _plain(array: Any) -> Any:
    import numpy

    return array.view(numpy.ndarray)


def _reduce_heir(pickler: Any, array: Any) -> Any:
    dtype = array.dtype
    state = dict(getattr(array, "__dict__", {}))
    return view_as, (_plain(array), type(array), dtype), (state,), None, None, set_heir


def view_as(plain: Any, kind: type, dtype: Any) -> Any:
    """An array as one of another type, on the same memory."""
    found = plain.view(kind)
    if found.dtype != dtype or found.dtype.type is not dtype.type:
        found = found.view(dtype)
    return found


def set_heir(array: Any, state: tuple[dict[str, Any]]) -> None:
    """The attributes of an array of a type of its own."""
    if state[0] or getattr(array, "__dict__", None):
        array.__dict__.clear()
        array.__dict__.update(state[0])


def _reduce_masked(pickler: Any, array: Any) -> Any:
    import numpy

    mask = None if array._mask is numpy.ma.nomask else array._mask
    fill = array._fill_value
    rest = {name: array.__dict__[name] for name in _FLAGS if name in array.__dict__}
    plain = numpy.ndarray.view(array, numpy.ndarray)
    return make_masked, (plain, mask, None if fill is None else numpy.array(fill), rest)


def make_masked(data: Any, mask: Any, fill: Any, rest: dict[str, Any]) -> Any:
    """A masked array on this memory, with this mask."""
    import numpy

    found = data.view(numpy.ma.MaskedArray)
    found._mask = numpy.ma.nomask if mask is None else mask
    found._fill_value = fill
    found.__dict__.update(rest)
    return found


# -- maps of files -------------------------------------------------------------------------------


def _reduce_map(pickler: Any, array: Any) -> Any:
    import numpy

    root = root_of(array)
    if not isinstance(root, numpy.memmap) or root.filename is None:
        return _reduce_heir(pickler, array)
    if root.mode not in ("r", "c") or not os.path.isfile(root.filename):
        raise Unstorable("a memory map that writes to its file cannot be stored")
    if root.mode == "c":
        from nbrw_runtime.codec_files import stored_path

        attributes = (array.mode, array.offset, stored_path(os.fspath(array.filename)))
        return copied_map, (_plain(array), *attributes)
    pickler.roots.setdefault(id(root), (root, set()))[1].add(id(array))
    if array is not root:
        if type(array) is not numpy.memmap or not _can_view(root, array):
            raise Unstorable("a part of a memory map cannot be stored")
        offset = _start(array) - _start(root)
        return map_view, (root, offset, array.shape, array.strides, array.dtype)
    from nbrw_runtime.codec_files import content_of, stored_path

    order = "C" if root.flags.c_contiguous else "F"
    path = os.path.abspath(os.fspath(root.filename))
    where = (stored_path(path), content_of(path)[0])
    return open_map, (*where, root.dtype, root.shape, root.offset, order)


def open_map(where: Any, digest: str, dtype: Any, shape: Any, offset: int, order: str) -> Any:
    """A file as an array, for reading. Raises RestoreError if its content is another."""
    import numpy

    from nbrw_runtime.codec_files import checked

    path: Any = checked(where, digest)
    options: dict[str, Any] = {"offset": offset, "shape": shape, "order": order}
    return numpy.memmap(path, dtype, mode="r", **options)


def map_view(root: Any, offset: int, shape: Any, strides: Any, dtype: Any) -> Any:
    """A part of a file as an array."""
    import numpy

    flat = root.view(numpy.ndarray).ravel(order="K").view(numpy.uint8)
    view = numpy.ndarray(shape, dtype, buffer=flat, offset=offset, strides=strides)
    found = view.view(numpy.memmap)
    return _like(found, root._mmap, root.mode, root.offset, root.filename)


def copied_map(data: Any, mode: str, offset: int, where: Any) -> Any:
    """What was a map of a file with changes that the file has not."""
    import numpy

    from nbrw_runtime.codec_files import place_of

    return _like(data.view(numpy.memmap), None, mode, offset, place_of(where))


def _like(array: Any, source: Any, mode: str, offset: int, filename: Any) -> Any:
    array._mmap, array.mode, array.offset, array.filename = source, mode, offset, filename
    return array
