"""Start Dask's own scheduler or worker in the notebook's environment, as one of an image.

``python cluster_launch.py ORDERS``, run by the notebook's interpreter, in whose environment nbrw is
not installed. ``ORDERS`` is a JSON object, made by `cluster_process.py`.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
# Python puts the directory of a script first; nothing may be imported from ours by a bare name.
if sys.path and sys.path[0] == _HERE:
    del sys.path[0]

_PRELOAD = """
import importlib.util as _util, distributed.worker
_spec = _util.spec_from_file_location("nbrw_cluster_guard", {guard!r})
_guard = _util.module_from_spec(_spec)
_spec.loader.exec_module(_guard)
_guard.announce({image!r})
"""
_DEMAND = """
import importlib.util as _util
_spec = _util.spec_from_file_location("nbrw_cluster_demand", {path!r})
_demand = _util.module_from_spec(_spec)
_spec.loader.exec_module(_demand)
dask_setup = _demand.starter(**{keeper!r})
"""
_FILES = (("tls_ca_file", "ca.pem"), ("tls_{}_cert", "cert.pem"), ("tls_{}_key", "key.pem"))


def _guard():  # type: ignore[no-untyped-def]
    import importlib.util

    spec = importlib.util.spec_from_file_location("nbrw_cluster_guard", f"{_HERE}/cluster_guard.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fail(text, code=5):  # type: ignore[no-untyped-def]
    print(f"nbrw: {text}", file=sys.stderr, flush=True)
    sys.exit(code)


def _make_tls(directory):  # type: ignore[no-untyped-def]
    """Write the files that are missing: a certificate that is its own authority, and its key."""
    from distributed import Security

    try:
        made = Security.temporary()
    except ImportError:
        _fail(
            f"make certificates in {directory}: the notebook's environment has no `cryptography`; "
            "make them with openssl, as `docs/commands/clusters.md` says"
        )
    texts = (made.tls_ca_file, made.tls_scheduler_cert, made.tls_scheduler_key)
    for (_, name), text in zip(_FILES, texts, strict=True):
        path = os.path.join(directory, name)
        with open(os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as to:
            to.write(text)
        os.rename(f"{path}.new", path)


def _security(directory, role):  # type: ignore[no-untyped-def]
    from distributed import Security

    if not directory:
        return Security()
    files = {name.format(role): os.path.join(directory, file) for name, file in _FILES}
    return Security(require_encryption=True, **files)


async def _join(guard, place, is_file, security, image, seconds):  # type: ignore[no-untyped-def]
    """Wait for the scheduler; why it is not joined, or nothing."""
    import asyncio
    import json
    import time

    from distributed.core import rpc

    deadline, address = time.monotonic() + seconds, "" if is_file else place
    while True:
        try:
            if is_file:
                with open(place, encoding="utf-8") as stream:
                    address = json.load(stream)["address"]
            options = {"connection_args": security.get_connection_args("worker")}
            async with rpc(address, timeout=5, **options) as scheduler:
                return await guard.scheduler_refusal(scheduler, "the worker", image)
        except (OSError, ValueError, KeyError) as error:
            if time.monotonic() > deadline:
                return (
                    f"join the scheduler at {place}: it does not answer within {seconds:g} s "
                    f"({type(error).__name__}: {error}); is it started, and reached from here?"
                )
        await asyncio.sleep(0.2)


def main(orders):  # type: ignore[no-untyped-def]
    """Become the scheduler or the worker; returns when it ends."""
    sys.path.insert(0, os.getcwd())  # as in a notebook's kernel, and so in what that starts
    role, image, tls = orders["role"], orders["image"], orders["tls"]
    try:
        import dask
        import distributed
        import distributed.cli
        import distributed.worker
    except ImportError as error:
        _fail(
            f"start a {role}: the image has no Dask that can ({error}); the notebook's environment "
            "must have it, and an image that is built with --minimal lacks it"
        )
    guard = _guard()
    guard.announce(image)
    preloads = list(dask.config.get(f"distributed.{role}.preload"))
    if role == "scheduler":
        if orders["make_tls"]:
            _make_tls(tls)
        parts = ("task_watch.py", "task_inputs.py", "task_worker.py")
        guard.provide_tasks([f"{_HERE}/{part}" for part in parts])
        guard.guard(distributed.Scheduler, image)
        if orders["keeper"]:
            path = f"{_HERE}/cluster_demand.py"
            preloads.insert(0, _DEMAND.format(path=path, keeper=orders["keeper"]))
        from distributed.cli import dask_scheduler as cli
    else:
        import asyncio

        place = orders["file"] or orders["address"]
        security = _security(tls, role)
        joined = _join(guard, place, bool(orders["file"]), security, image, orders["wait"])
        why = asyncio.run(joined)
        if why:
            _fail(why)
        # The processes that the worker starts import this anew.
        preloads.insert(0, _PRELOAD.format(guard=f"{_HERE}/cluster_guard.py", image=image))
        from distributed.cli import dask_worker as cli  # type: ignore[no-redef]
    words = [word for preload in preloads for word in ("--preload", preload)]
    # What workers start must not take this file for the notebook's main module.
    vars(sys.modules["__main__"]).pop("__file__", None)
    cli.main([*words, *orders["words"]], prog_name=role)


if __name__ == "__main__":
    import json

    main(json.loads(sys.argv[1]))
