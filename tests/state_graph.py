"""A namespace as a JSON value: content and sharing, so that two processes' can be compared as text.

Every object that two places could share is a node, numbered in the order in which it is met from
the sorted names; whoever refers to it again gives its number. Arrays tell which memory they use.
"""

from __future__ import annotations

import _collections_abc
import contextvars
import enum
import gc
import hashlib
import io
import json
import logging
import re
import sys
import threading
import types
import typing
import weakref
from collections.abc import Iterator
from pathlib import PurePath

_ATOMS = (bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented))
_LEFT_OUT = {
    "__dict__", "__weakref__", "_abc_impl", "__builtins__", "__abstractmethods__", "__slotnames__",
}  # fmt: skip
# Nobody can tell whether two of these are one object.
_VALUES = (tuple, frozenset, range, slice, types.CodeType)
_VALUE_MODULES = (
    "datetime", "decimal", "fractions", "pathlib", "uuid", "re", "zoneinfo", "ipaddress", "pyarrow",
    "numpy.dtypes", "pandas.core.indexes", "pandas._libs", "pandas.core.dtypes", "types", "typing",
)  # fmt: skip
_INERT = {
    "GzipFile", "BZ2File", "LZMAFile", "ThreadPoolExecutor", "ProcessPoolExecutor", "ThreadPool",
    "Pool", "Connection",
}  # fmt: skip
_PROXIES = (weakref.ProxyType, weakref.CallableProxyType)
_VIEWS = (_collections_abc.dict_keys, _collections_abc.dict_values, _collections_abc.dict_items)


def describe(names, namespace, places=()):
    """The graph that these names of a namespace reach. ``places`` are directories, in texts of
    paths replaced by ``<0>``, ``<1>``.
    """
    graph = _Graph(namespace, [str(place) for place in places])
    roots = {name: graph.see(namespace[name]) for name in sorted(names)}
    return {"names": roots, "nodes": graph.nodes, "memory": graph.memory()}


def text(description):
    """The graph as text, a line for each node."""
    lines = [f"{name}: {json.dumps(value)}" for name, value in description["names"].items()]
    for number, node in enumerate(description["nodes"]):
        lines.append(f"{number}: {json.dumps(node, sort_keys=True, default=str)}")
    return "\n".join([*lines, f"memory: {description['memory']}"])


def _digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


class _Graph:
    def __init__(self, namespace, places):
        self.namespace = namespace
        self.places = places
        self.nodes = []
        self._numbers = {}
        self._kept = []  # ids stay those of these objects
        self._regions = []  # (first byte, one past the last, node, where it starts)

    # -- one object ----------------------------------------------------------------------------

    def see(self, obj):
        """An object where it is used: an atom, a name in a module, or the number of a node."""
        kind = type(obj)
        if kind in _ATOMS:
            return self._atom(obj)
        if kind is tuple and not obj:
            return "()"
        known = self._importable(obj)
        if known is not None:
            return known
        if kind in _PROXIES:
            return {"proxy": self.see(obj.__reduce_ex__.__self__)}
        if kind in _VALUES or str(kind.__module__).startswith(_VALUE_MODULES):
            return {"type": self._type(kind), **self._content(obj, kind, -1)}
        number = self._numbers.get(id(obj))
        if number is None:
            self._kept.append(obj)
            number = self._numbers[id(obj)] = len(self.nodes)
            self.nodes.append(None)
            self.nodes[number] = {"type": self._type(kind), **self._content(obj, kind, number)}
        return {"node": number}

    def _atom(self, obj):
        if isinstance(obj, str):
            return "'" + obj
        if isinstance(obj, bytes) and len(obj) > 64:
            return f"bytes {len(obj)} {_digest(obj)}"
        return repr(obj)

    def _path(self, value):
        for index, place in enumerate(self.places):
            value = value.replace(place, f"<{index}>")
        return value

    def _importable(self, obj):
        if isinstance(obj, types.ModuleType) and sys.modules.get(obj.__name__) is obj:
            return f"module {obj.__name__}"
        if isinstance(obj, (type, types.FunctionType, types.BuiltinFunctionType)):
            name = getattr(obj, "__qualname__", "")
            module = getattr(obj, "__module__", None)
            owner = getattr(obj, "__self__", None)
            if not module or module == "__main__" or isinstance(owner, (list, dict, set)):
                return None
            found = sys.modules.get(module)
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is obj:
                return f"{module}.{name}"
        for name in ("stdout", "stderr", "stdin", "__stdout__", "__stderr__"):
            if obj is getattr(sys, name):
                return f"sys.{name}"
        return self._constant(obj)

    def _constant(self, obj):
        """A constant without state of the module of its class, such as dataclasses.MISSING."""
        kind = type(obj)
        module = sys.modules.get(kind.__module__)
        if kind.__module__ in ("builtins", "__main__") or getattr(obj, "__dict__", None):
            return None
        if module is None or isinstance(obj, enum.Enum):
            return None
        for name, value in vars(module).items():
            if value is obj:
                return f"{kind.__module__}.{name}"
        return None

    def _type(self, kind):
        found = self.see(kind)
        return found if isinstance(found, dict) else found.strip("'")

    # -- what is inside ------------------------------------------------------------------------

    def _content(self, obj, kind, number):
        if kind.__name__ in _INERT:
            return self.inert(obj)
        for bases, describer in _KINDS:
            if isinstance(obj, bases):
                return describer(self, obj)
        root = str(kind.__module__).partition(".")[0]
        describer = _LIBRARIES.get(root)
        if describer is not None:
            found = describer(self, obj, number)
            if found is not None:
                return found
        return self._plain(obj)

    def _plain(self, obj):
        content = {}
        if isinstance(obj, enum.Enum):
            content["member"] = obj.name
        if isinstance(obj, dict):
            content["items"] = [[self.see(k), self.see(v)] for k, v in dict.items(obj)]
        elif isinstance(obj, (list, tuple)):
            content["elements"] = [self.see(v) for v in type(obj).__mro__[-2].__iter__(obj)]
        elif isinstance(obj, (set, frozenset)):
            content["elements"] = self._unordered(obj)
        elif isinstance(obj, (str, bytes, int, float)):
            base = next(b for b in type(obj).__mro__ if b in _ATOMS)
            content["value"] = self._atom(base(obj) if base is not str else str.__str__(obj))
        slots, found = self._slots(obj), getattr(obj, "__dict__", None)
        if slots:
            content["slots"] = slots
        if isinstance(found, dict):
            content["attributes"] = [[k, self.see(v)] for k, v in sorted(found.items())]
        if isinstance(obj, BaseException):
            content["arguments"] = self.see(obj.args)
            content["cause"] = self.see(obj.__cause__)
            content["context"] = self.see(obj.__context__)
            content["traceback"] = self.see(obj.__traceback__)
        if not content:
            return self._reduced(obj)
        if getattr(obj, "default_factory", None) is not None:
            content["factory"] = self.see(obj.default_factory)
        return content

    def _unordered(self, values):
        alone = [(text(describe(["v"], {"v": v}, self.places)), v) for v in values]
        return [self.see(v) for _, v in sorted(alone, key=lambda pair: pair[0])]

    def _slots(self, obj):
        found = []
        for base in type(obj).__mro__:
            for name, member in vars(base).items():
                if isinstance(member, types.MemberDescriptorType) and base.__module__ == "__main__":
                    value = getattr(obj, name, "<unset>")
                    found.append([name, self.see(value)])
        return sorted(found, key=lambda pair: pair[0])

    def _reduced(self, obj):
        """By what pickle would make of it: for types of C that show nothing else."""
        try:
            parts = obj.__reduce_ex__(4)
        except TypeError:
            return {"opaque": True}
        if isinstance(parts, str):
            return {"name": parts}
        parts = [list(p) if isinstance(p, Iterator) else p for p in parts]
        self._kept.append(parts)
        return {"parts": [self.see(part) for part in parts]}

    # -- kinds ---------------------------------------------------------------------------------

    def function(self, obj):
        module = sys.modules.get(obj.__globals__.get("__name__"))
        if obj.__globals__ is self.namespace:
            where = "the namespace"
        elif module is not None and vars(module) is obj.__globals__:
            where = f"of {module.__name__}"
        else:
            where = sorted(set(obj.__globals__) & set(obj.__code__.co_names))
        return {
            "code": self.code(obj.__code__),
            "globals": where,
            "closure": [self.see(cell) for cell in obj.__closure__ or ()],
            "names": [obj.__name__, obj.__qualname__, obj.__module__, obj.__doc__],
            "defaults": [self.see(obj.__defaults__), self.see(obj.__kwdefaults__)],
            "annotations": [[k, self.see(v)] for k, v in obj.__annotations__.items()],
            "attributes": [[k, self.see(v)] for k, v in obj.__dict__.items()],
        }

    def code(self, code):
        constants = [
            self.code(c) if isinstance(c, types.CodeType) else self.constant(c)
            for c in code.co_consts
        ]
        return [code.co_name, _digest(code.co_code), list(code.co_names), constants]

    def constant(self, value):
        if isinstance(value, frozenset):
            return sorted(self.constant(v) for v in value)
        return repr(value)

    def cell(self, obj):
        try:
            return {"contents": self.see(obj.cell_contents)}
        except ValueError:
            return {"contents": "nothing yet"}

    def a_class(self, obj):
        inside = {
            name: value
            for name, value in vars(obj).items()
            if name not in _LEFT_OUT and not isinstance(value, types.MemberDescriptorType)
        }
        return {
            "name": [obj.__name__, obj.__qualname__, obj.__module__],
            "bases": [self.see(base) for base in obj.__bases__],
            "layout": [obj.__basicsize__, obj.__dictoffset__ != 0, obj.__weakrefoffset__ != 0],
            "abstract": sorted(getattr(obj, "__abstractmethods__", ())),
            "dict": [[name, self.see(value)] for name, value in inside.items()],
        }

    def reference(self, obj):
        target = obj()
        return {"to": "nothing" if target is None else self.see(target)}

    def weak_container(self, obj):
        if isinstance(obj, weakref.WeakSet):
            return {"elements": self._unordered(list(obj))}
        return {"items": [[self.see(k), self.see(v)] for k, v in obj.items()]}

    def lock(self, obj):
        free = obj.acquire(blocking=False)
        if free:
            obj.release()
        return {"free": free}

    def file(self, obj):
        name = getattr(obj, "name", None)
        found = {"name": self._path(name) if isinstance(name, str) else name}
        found["closed"] = obj.closed
        found["mode"] = getattr(obj, "mode", None)
        if not obj.closed:
            found["position"] = obj.tell()
            found["encoding"] = getattr(obj, "encoding", None)
        return found

    def inert(self, obj):
        """Something that is closed, of which nothing else matters."""
        open_still = getattr(obj, "_state", getattr(obj, "_shutdown", None))
        return {"closed": getattr(obj, "closed", open_still), "true": bool(obj)}

    def logger(self, obj):
        return {
            "name": obj.name, "level": obj.level, "propagate": obj.propagate,
            "handlers": [self.see(handler) for handler in obj.handlers],
        }  # fmt: skip

    def handler(self, obj):
        return {"level": obj.level, "formatter": self.see(obj.formatter),
                "stream": self.see(getattr(obj, "stream", None))}  # fmt: skip

    def alias(self, obj):
        return {"origin": self.see(obj.__origin__), "args": [self.see(a) for a in obj.__args__]}

    def new_type(self, obj):
        return {"name": [obj.__qualname__, obj.__module__], "of": self.see(obj.__supertype__)}

    def a_type_variable(self, obj):
        return {"name": [obj.__name__, obj.__module__], "bound": self.see(obj.__bound__)}

    def traceback(self, obj):
        places = []
        while obj is not None:
            places.append([obj.tb_frame.f_code.co_name, obj.tb_lineno])
            obj = obj.tb_next
        return {"places": places}

    def match(self, obj):
        return {"pattern": self.see(obj.re), "text": obj.string, "places": repr(obj.regs)}

    def proxy(self, obj):
        return {"of": self.see(gc.get_referents(obj)[0])}

    def view(self, obj):
        return {"of": self.see(gc.get_referents(obj.mapping)[0])}

    def memory_view(self, obj):
        return {"of": self.see(obj.obj), "shape": list(obj.shape), "format": obj.format,
                "content": _digest(obj.tobytes()), "readonly": obj.readonly}  # fmt: skip

    def method(self, obj):
        return {"function": self.see(obj.__func__), "self": self.see(obj.__self__)}

    def built_in(self, obj):
        return {"name": obj.__name__, "self": self.see(obj.__self__)}

    def descriptor(self, obj):
        parts = [getattr(obj, n, None) for n in ("__func__", "fget", "fset", "fdel")]
        return {"functions": [self.see(part) for part in parts]}

    def cached(self, obj):
        return {"function": self.see(obj.__wrapped__), "info": list(obj.cache_info()),
                "parameters": sorted(obj.cache_parameters().items())}  # fmt: skip

    def pattern(self, obj):
        return {"pattern": repr(obj.pattern), "flags": int(obj.flags)}

    def path(self, obj):
        return {"path": str(obj)}

    def variable(self, obj):
        return {"name": obj.name}

    # -- libraries -----------------------------------------------------------------------------

    def numpy(self, obj, number):
        import numpy

        if isinstance(obj, numpy.ma.MaskedArray):
            mask = obj._mask
            return {"data": self.see(obj.data), "mask": self.see(mask),
                    "fill": repr(obj._fill_value), "hard": obj.hardmask}  # fmt: skip
        if isinstance(obj, numpy.ndarray):
            found = self._array(obj, number)
            if isinstance(obj, numpy.memmap):
                found["file"] = [self._path(str(obj.filename)), obj.mode, obj.offset]
            return found
        if isinstance(obj, numpy.generic):
            return {"value": repr(obj)}
        if isinstance(obj, numpy.dtype):
            return {"dtype": repr(obj)}
        return None

    def _array(self, obj, number, memory=True):
        import numpy

        flags = [bool(obj.flags[n]) for n in ("WRITEABLE", "C_CONTIGUOUS", "F_CONTIGUOUS")]
        found = {"dtype": repr(obj.dtype), "shape": list(obj.shape), "flags": flags}
        if obj.dtype.hasobject:
            found["elements"] = [self.see(v) for v in obj.ravel().tolist()]
        else:
            found["content"] = _digest(numpy.ascontiguousarray(obj).tobytes())
        if memory and obj.size:
            low, high = numpy.lib.array_utils.byte_bounds(obj)
            self._regions.append((low, high, number, obj.__array_interface__["data"][0]))
        return found

    def pandas(self, obj, number):
        import pandas

        if isinstance(obj, pandas.DataFrame):
            columns = [obj.iloc[:, i] for i in range(obj.shape[1])]
            return {
                "index": self.see(obj.index), "columns": self.see(obj.columns),
                "attrs": self.see(obj.attrs),
                "data": [self._column(column.array) for column in columns],
            }  # fmt: skip
        if isinstance(obj, pandas.Series):
            return {"index": self.see(obj.index), "name": self.see(obj.name),
                    "attrs": self.see(obj.attrs), "data": self._column(obj.array)}  # fmt: skip
        if isinstance(obj, pandas.MultiIndex):
            return {"levels": [self._column(level.array) for level in obj.levels],
                    "codes": [list(map(int, c)) for c in obj.codes],
                    "names": [self.see(n) for n in obj.names]}  # fmt: skip
        if isinstance(obj, pandas.Index):
            return {"data": self._column(obj.array), "name": self.see(obj.name),
                    "freq": repr(getattr(obj, "freq", None))}  # fmt: skip
        if isinstance(obj, pandas.api.extensions.ExtensionArray):
            return self._column(obj)
        if isinstance(obj, pandas.api.typing.DataFrameGroupBy):
            return {"of": self.see(obj.obj), "keys": self.see(obj.keys), "sizes": repr(obj.size())}
        return None

    def _column(self, array):
        import numpy

        shown = [repr(v) if isinstance(v, numpy.generic) else self.see(v) for v in array.tolist()]
        return {"dtype": repr(array.dtype), "values": shown}

    def matplotlib(self, obj, number):
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure

        if isinstance(obj, Axes):
            return {"of": self.see(obj.figure), "lines": [self.see(line) for line in obj.lines]}
        if isinstance(obj, Figure):
            from matplotlib.backends.backend_agg import FigureCanvasAgg

            canvas, stream = obj.canvas, io.BytesIO()
            FigureCanvasAgg(obj).print_png(stream, metadata={"Software": None})
            obj.set_canvas(canvas)
            return {"axes": [self.see(axes) for axes in obj.axes], "dpi": obj.dpi,
                    "picture": _digest(stream.getvalue())}  # fmt: skip
        if hasattr(obj, "get_xydata"):
            return {"axes": self.see(obj.axes), "data": obj.get_xydata().tolist()}
        return None

    def xarray(self, obj, number):
        import xarray

        if isinstance(obj, (xarray.Dataset, xarray.DataArray)):
            found = obj.to_dict(data="list")
            self._kept.append(found)
            lazy = not getattr(obj, "_in_memory", True)
            return {"value": json.dumps(found, default=str, sort_keys=True), "lazy": lazy}
        return None

    def polars(self, obj, number):
        import polars

        if isinstance(obj, polars.DataFrame):
            return {"schema": repr(obj.schema), "rows": repr(obj.rows())}
        if isinstance(obj, polars.Series):
            return {"dtype": repr(obj.dtype), "values": repr(obj.to_list())}
        if isinstance(obj, polars.LazyFrame):
            return {"plan": obj.explain(), "rows": repr(obj.collect().rows())}
        return None

    def torch(self, obj, number):
        import torch

        if isinstance(obj, torch.Tensor):
            plain = obj.detach()
            self._regions.append(_tensor_bounds(plain, number))
            return {
                "dtype": repr(obj.dtype), "shape": list(obj.shape), "stride": list(obj.stride()),
                "values": repr(plain.tolist()), "gradient": obj.requires_grad,
                "grad": self.see(obj.grad) if obj.is_leaf else None,
            }  # fmt: skip
        if isinstance(obj, torch.Generator):
            return {"state": _digest(obj.get_state().numpy().tobytes())}
        return None

    def h5py(self, obj, number):
        return {"closed": not obj}

    # -- memory --------------------------------------------------------------------------------

    def memory(self):
        """For each piece of memory that several arrays use: the nodes and where they start in it,
        counted from where the first of them starts."""
        shared = []
        todo = sorted(self._regions)
        while todo:
            low, high, number, start = todo.pop(0)
            group = [(number, start)]
            while todo and todo[0][0] < high:
                _, end, other, where = todo.pop(0)
                high = max(high, end)
                group.append((other, where))
            if len(group) > 1:
                group.sort()
                shared.append([[n, where - group[0][1]] for n, where in group])
        return sorted(shared)


def _tensor_bounds(tensor, number):
    start = tensor.data_ptr()
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + (last + 1) * tensor.element_size(), number, start


_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_KINDS = [
    (types.FunctionType, _Graph.function),
    (types.CellType, _Graph.cell),
    (type, _Graph.a_class),
    (types.MethodType, _Graph.method),
    (types.BuiltinMethodType, _Graph.built_in),
    ((property, staticmethod, classmethod), _Graph.descriptor),
    (types.MappingProxyType, _Graph.proxy),
    (_VIEWS, _Graph.view),
    (memoryview, _Graph.memory_view),
    (weakref.ReferenceType, _Graph.reference),
    ((weakref.WeakSet, weakref.WeakKeyDictionary, weakref.WeakValueDictionary),
     _Graph.weak_container),
    (_LOCKS, _Graph.lock),
    (logging.Logger, _Graph.logger),
    (logging.Handler, _Graph.handler),
    (re.Pattern, _Graph.pattern),
    (re.Match, _Graph.match),
    (types.TracebackType, _Graph.traceback),
    (contextvars.ContextVar, _Graph.variable),
    (types.GenericAlias, _Graph.alias),
    (typing.NewType, _Graph.new_type),
    (typing.TypeVar, _Graph.a_type_variable),
    (PurePath, _Graph.path),
    ((io.TextIOWrapper, io.BufferedIOBase, io.RawIOBase), lambda g, o: g.file(o)
     if not isinstance(o, (io.BytesIO, io.StringIO)) else g._reduced(o)),
]  # fmt: skip


def _cached_type():
    import functools

    return type(functools.lru_cache(len))


_KINDS.append((_cached_type(), _Graph.cached))
_LIBRARIES = {
    name: getattr(_Graph, name)
    for name in ("numpy", "pandas", "matplotlib", "xarray", "polars", "torch", "h5py")
}
