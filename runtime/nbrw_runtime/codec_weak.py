"""Weak references: to an object that is stored with them they come back as such. To one that only
something else holds they cannot: it would be gone as soon as it is back.
"""

from __future__ import annotations

import gc
import sys
import types
import weakref
from typing import Any

from nbrw_runtime.codec_refused import Unstorable

_STEPS = 200  # objects that are looked at for who holds one


class _Unfollowed:
    """Stands for what is referred to, while it is found out whether anything else holds it."""


def _noted(pickler: Any, target: Any) -> Any:
    pickler.weak[id(target)] = target
    return target if pickler.follow_weak else _Unfollowed


def _reduce_ref(pickler: Any, ref: Any) -> Any:
    target = ref()
    callback = ref.__callback__
    if isinstance(ref, weakref.WeakMethod):
        if target is None:
            raise Unstorable("a weak reference to a method that is gone cannot be stored")
        return make_method_ref, (target.__func__, _noted(pickler, target.__self__))
    if isinstance(ref, weakref.KeyedRef) or type(ref) is not weakref.ref:
        raise Unstorable("a weak reference of a kind of its own cannot be stored")
    if target is None:
        return make_dead, ()
    return make_ref, (_noted(pickler, target), *(() if callback is None else (callback,)))


def make_ref(target: Any, *callback: Any) -> Any:
    """A weak reference to what is being loaded."""
    return _expected(weakref.ref(target, *callback))


def make_method_ref(function: Any, owner: Any) -> Any:
    """A weak reference to a method of what is being loaded."""
    _expected(weakref.ref(owner))
    return weakref.WeakMethod(types.MethodType(function, owner))


def _expected(ref: Any) -> Any:
    """Note that this must not be dead when all is loaded."""
    from nbrw_runtime.codec import current_load_context

    current_load_context().expected.append(ref)
    return ref


def make_dead() -> Any:
    """A weak reference to an object that is gone."""
    return weakref.ref(_Unfollowed())


def _reduce_proxy(pickler: Any, proxy: Any) -> Any:
    try:
        target = proxy.__reduce_ex__.__self__
    except ReferenceError:
        raise Unstorable("a weak proxy of an object that is gone cannot be stored") from None
    return make_proxy, (_noted(pickler, target),)


def make_proxy(target: Any) -> Any:
    """A weak proxy of what is being loaded."""
    _expected(weakref.ref(target))
    return weakref.proxy(target)


def _reduce_set(pickler: Any, weak: Any) -> Any:
    return make_set, ([_noted(pickler, target) for target in list(weak)],)


def _reduce_values(pickler: Any, weak: Any) -> Any:
    return make_values, ([(key, _noted(pickler, value)) for key, value in list(weak.items())],)


def _reduce_keys(pickler: Any, weak: Any) -> Any:
    return make_keys, ([(_noted(pickler, key), value) for key, value in list(weak.items())],)


def make_set(members: list[Any]) -> Any:
    """A WeakSet."""
    for member in members:
        _expected(weakref.ref(member))
    return weakref.WeakSet(members)


def make_values(items: list[tuple[Any, Any]]) -> Any:
    """A WeakValueDictionary."""
    for _, value in items:
        _expected(weakref.ref(value))
    return weakref.WeakValueDictionary(items)


def make_keys(items: list[tuple[Any, Any]]) -> Any:
    """A WeakKeyDictionary."""
    for key, _ in items:
        _expected(weakref.ref(key))
    return weakref.WeakKeyDictionary(items)


def is_held(target: Any, namespace: dict[str, Any]) -> bool:
    """Whether some name of the notebook leads to this object, not by a weak reference.

    Looked for from the object on, in so many steps: False if it was not found by then.
    """
    seen = {id(target)}
    todo = [target]
    for _ in range(_STEPS):
        if not todo:
            return False
        for holder in gc.get_referrers(todo.pop(0)):
            if holder is namespace:
                return True
            if holder is not todo and id(holder) not in seen and _leads_on(holder):
                seen.add(id(holder))
                todo.append(holder)
    return False


def _leads_on(holder: Any) -> bool:
    """Whether who holds this holds it for the notebook: not a module, not the kernel, not us."""
    kind = type(holder)
    if isinstance(holder, (types.FrameType, types.ModuleType)) or not gc.is_tracked(holder):
        return False
    if kind.__module__.startswith(("nbrw_runtime", "IPython", "ipykernel", "traitlets")):
        return False
    if kind is dict and isinstance(holder.get("__name__"), str):
        module = sys.modules.get(holder["__name__"])
        return module is None or vars(module) is not holder
    if isinstance(holder, (type, types.FunctionType)):
        return holder.__module__ == "__main__"
    return True


HANDLERS: list[tuple[Any, Any]] = [
    ((weakref.ProxyType, weakref.CallableProxyType), _reduce_proxy),
    (weakref.ref, _reduce_ref),
    (weakref.WeakSet, _reduce_set),
    (weakref.WeakValueDictionary, _reduce_values),
    (weakref.WeakKeyDictionary, _reduce_keys),
]
