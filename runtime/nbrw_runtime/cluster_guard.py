"""Schedulers, workers and clients of Dask say which image they are of, and turn others away.

Loaded in processes of the notebook's environment by path, as nbrw is not installed there: it
imports nothing but the standard library, and distributed, which is loaded already. An image is
known by the digest of its recipe, which names the digests of all else.
"""

import functools
import sys
import time
import types

KEY = "nbrw"  # in what Dask's processes tell each other of their versions, and in identities
TASKS = "nbrw_task_worker"


def refusal(who, theirs, ours, where=""):
    """Why a worker or client does not work with a scheduler (at ``where``); empty if they are of
    one image. Both are digests: ``theirs`` that of ``who``, ``ours`` the scheduler's.
    """
    if theirs == ours:
        return ""
    first, second = (f"of image {i}" if i else "of no image of nbrw" for i in (theirs, ours))
    place = f" at {where}" if where else ""
    return (
        f"connect {who} to the scheduler{place}: {who} is {first}, the scheduler {second}; "
        "start both from the same image"
    )


def announce(image):
    """Have this process say its image whenever it says its versions."""
    module = sys.modules["distributed.versions"]
    original = module.get_versions
    if getattr(original, "_nbrw", "") == image:
        return

    @functools.wraps(original)
    def get_versions(*args, **options):
        return {**original(*args, **options), KEY: {"image": image}}

    get_versions._nbrw = image  # type: ignore[attr-defined]
    module.get_versions = get_versions  # type: ignore[attr-defined]
    for name in ("distributed.worker", "distributed.node"):  # they have it by name
        if hasattr(sys.modules.get(name), "get_versions"):
            sys.modules[name].get_versions = get_versions  # type: ignore[attr-defined]


def image_of(said):
    """The image in what a process said of its versions, or of its identity; empty: it is none."""
    found = (said or {}).get(KEY)
    return str(found.get("image", "")) if isinstance(found, dict) else ""


def guard(scheduler, image):
    """Have schedulers of this class say their image, and turn away who is of another.

    A client that is of no image is let in: it brings no results.
    """
    add_worker, add_client, identity = (
        scheduler.add_worker, scheduler.add_client, scheduler.identity,
    )  # fmt: skip

    async def _add_worker(self, comm, **told):
        why = refusal("the worker", image_of(told.get("versions")), image)
        if not why:
            return await add_worker(self, comm, **told)
        print(f"nbrw: {why}", file=sys.stderr, flush=True)
        return await comm.write({"status": "error", "message": why, "time": time.time()})

    async def _add_client(self, comm, **told):
        theirs = image_of(told.get("versions"))
        why = refusal("the client", theirs, image) if theirs else ""
        if not why:
            return await add_client(self, comm, **told)
        print(f"nbrw: {why}", file=sys.stderr, flush=True)
        await comm.write([{"op": "stream-start", "warning": "", "error": why}])
        return await comm.close()

    def _identity(self, *args, **options):
        return {**identity(self, *args, **options), KEY: {"image": image}}

    scheduler.add_worker, scheduler.add_client = _add_worker, _add_client
    scheduler.identity = _identity


async def scheduler_refusal(scheduler, who, image):
    """Why ``who``, of this image, does not join a scheduler (an ``rpc`` of it); empty: it may."""
    return refusal(who, image, image_of(await scheduler.identity()), scheduler.address)


def provide_tasks(paths):
    """Have this process know the functions that run around tasks, by the name they travel under."""
    if TASKS not in sys.modules:
        module = types.ModuleType(TASKS)
        text = ""
        for path in paths:
            with open(path, encoding="utf-8") as stream:
                text += "".join(
                    line for line in stream if not line.startswith("from nbrw_runtime.")
                )
        exec(compile(text, f"<{TASKS}>", "exec"), module.__dict__)
        sys.modules[TASKS] = module
