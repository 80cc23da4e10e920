"""The tasks that store and load values on workers, where nbrw_runtime cannot be imported.

They are made from source in a namespace of their own, so that pickling ships them by value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

_STORE = '''
def nbrw_store(value, root):
    """Write a value into the store of nbrw; returns its digest."""
    import hashlib, os, tempfile
    import cloudpickle
    data = cloudpickle.dumps(value, protocol=5)
    digits = hashlib.sha256(data).hexdigest()
    directory = os.path.join(root, "sha256")
    target = os.path.join(directory, digits)
    if not os.path.exists(target):
        os.makedirs(directory, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".new-", dir=directory)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(data)
            os.chmod(name, 0o444)
            os.rename(name, target)
        except BaseException:
            os.unlink(name)
            raise
    return "sha256:" + digits
'''

_LOAD = '''
def nbrw_load(path, digest):
    """Read a value from the store of nbrw, checking its digest."""
    import hashlib, pickle
    with open(path, "rb") as stream:
        data = stream.read()
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if found != digest:
        raise ValueError(f"blob {digest} in {path} is corrupt: its digest is {found}")
    return pickle.loads(data)
'''


def made(source: str, name: str) -> Callable[..., Any]:
    """A function of this source that pickling ships by value."""
    # As if defined in a notebook: what is in __main__ is pickled by value.
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


@lru_cache(maxsize=1)
def store_function() -> Callable[[Any, str], str]:
    """``(value, store root) -> digest``, to be submitted to a worker."""
    return made(_STORE, "nbrw_store")


@lru_cache(maxsize=1)
def load_function() -> Callable[[str, str], Any]:
    """``(path, digest) -> value``, to be submitted to a worker."""
    return made(_LOAD, "nbrw_load")
