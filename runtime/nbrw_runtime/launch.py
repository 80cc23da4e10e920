"""Start ipykernel as ``python -m ipykernel_launcher`` does, with a session of nbrw beside it.

Run by the notebook's own interpreter, in whose environment nbrw is not installed:
``python <dir>/nbrw_runtime/launch.py --session S [--fallback DIR]... -f CONNECTION [...]``. The
notebook sees nothing of it: ``sys.path``, ``sys.argv`` and the environment are what they would be.
``--watch SOCKET`` has a read watch told what the kernel uses (`read_watch.py`).
"""

import sys

# Python puts the directory of a script first; nothing may be imported from ours by a bare name.
if sys.path and sys.path[0] == __file__.rpartition("/")[0]:
    del sys.path[0]


def _arguments(argv):  # type: ignore[no-untyped-def]
    session, watch, fallbacks, rest = "", "", [], []
    words = iter(argv)
    for word in words:
        if word == "--session":
            session = next(words)
        elif word == "--fallback":
            fallbacks.append(next(words))
        elif word == "--watch":
            watch = next(words)
        else:
            rest.append(word)
    return session, watch, fallbacks, rest


class _Finder:
    """Finds nbrw_runtime, and dill and cloudpickle where the environment has none."""

    def __init__(self, runtime, fallbacks):  # type: ignore[no-untyped-def]
        self._places = {"nbrw_runtime": [runtime]}
        for name in ("dill", "cloudpickle"):
            self._places[name] = [*fallbacks, runtime]

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        places = self._places.get(name)
        if places is None:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, places, target)


def _at_exit(function, *arguments):  # type: ignore[no-untyped-def]
    end = sys.modules.get("nbrw_runtime.kernel_end")
    if end is not None:
        getattr(end, function)(*arguments)


def main() -> None:
    """Start the kernel; returns when it ends."""
    import atexit
    import os

    # The first that is registered is the last that is called. ipykernel keeps copies of these.
    outputs = []
    for number in (1, 2):
        try:
            found = os.fstat(number)
        except OSError:
            continue  # it is closed
        outputs.append((found.st_dev, found.st_ino))
    atexit.register(_at_exit, "leave", outputs)

    here = os.path.dirname(os.path.abspath(__file__))
    session_path, watch, fallbacks, rest = _arguments(sys.argv[1:])
    sys.meta_path.append(_Finder(os.path.dirname(here), fallbacks))
    hook = os.environ.pop("NBRW_AUDIT_HOOK", None)
    import ipykernel_launcher

    sys.argv = [ipykernel_launcher.__file__, *rest]
    from ipykernel.kernelapp import IPKernelApp

    if hook is not None:
        from nbrw_runtime import audit_hook

        audit_hook.install(hook)
    if watch:
        from nbrw_runtime import read_watch_install

        # Before there are threads, which would not be watched. Why it cannot be, the watch knows.
        read_watch_install.install(watch)
    app = IPKernelApp.instance()
    app.initialize(sys.argv[1:])
    atexit.register(_at_exit, "hold")
    if session_path:
        from nbrw_runtime import session
        from nbrw_runtime.session_file import read_session

        orders = read_session(session_path)
        if orders.mode == "repeat":
            from nbrw_runtime import dask_redirect

            dask_redirect.install(orders.cluster)
        session.begin(orders, app.shell)
    app.start()


if __name__ == "__main__":
    main()
