"""What a Dask scheduler keeps: events, variables, queues, semaphores, and what stands for them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nbrw_runtime import dask_contents, dask_named
from nbrw_runtime.codec import Omit
from notebook_helper import run, write_notebook
from repeat_harness import Repeat, audit, disconnect, plain_run

pytestmark = pytest.mark.integration
distributed = pytest.importorskip("distributed")
KINDS = (distributed.Queue, distributed.Event, distributed.Variable)

CLIENT = (
    "from distributed import (Client, Event, Lock, MultiLock, Queue, Semaphore, Variable,"
    " as_completed, fire_and_forget)\n"
    "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')"
)
INLINE = CLIENT.replace("n_workers=1", "processes=False, n_workers=1")


def repeated(place, cells, edited, client=CLIENT):
    """What cells do when the last is replaced: the repeat; its output is that of a run of all."""
    sources = [client, *cells]
    try:
        recipe, store = audit(place / "audit", sources)
        disconnect()
        expected = plain_run(place / "plain" / "work", [*sources[:-1], edited])[-1]
        disconnect()
        found = Repeat(place / "repeat", recipe, store, [*sources[:-1], edited])
    finally:
        disconnect()
    assert found.outputs[-1] == expected, (found.outputs[-1], found.notes)
    found.omitted = {o.name: o.reason for c in recipe.checkpoints for o in c.omitted}
    found.recipe = recipe
    return found


#: Cells after the client's, the edit of the last, and what a repeat does with each.
CASES = {
    "a queue's items, in order, and its limit": (
        ["q = Queue('q', maxsize=3)\nq.put(1)", "q.put({'a': (1, [2])})", "q.put(3)"],
        "q.put(4)\nprint(q.qsize(), q.get(), q.get(), q.get(), q.maxsize)", "rrrX"),
    "a queue that was emptied": (
        ["q = Queue('q')\nq.put(1)\nq.put(2)", "one = q.get()", "n = 1"],
        "print(one, q.get(batch=True), q.qsize())", "rrrX"),
    "futures in a queue, whose task is not run again": (
        ["def make(n):\n    open(f'made-{n}', 'a').write('x')\n    return [n]\n"
         "q = Queue('q')\nfor n in range(3):\n    q.put(client.submit(make, n))", "n = 1"],
        "print([q.get().result() for _ in range(3)])", "rrX"),
    "one future twice in a queue": (
        ["f = client.submit(sum, [1, 2])\nq = Queue('q')\nq.put(f)\nq.put(f)\ndel f", "n = 1"],
        "a = q.get()\nb = q.get()\nprint(a.result(), b.result(), a.key == b.key, q.qsize())",
        "rrX"),
    "a variable": (
        ["v = Variable('v')\nv.set('one')", "v.set('two')", "n = 1"], "print(v.get())", "rrrX"),
    "a variable whose future nobody holds": (
        ["v = Variable()\nv.set(client.submit(sum, [1, 2]))", "n = 1"],
        "f = v.get()\nprint(f.result(), client.submit(abs, f).result())", "rrX"),
    "a variable that was deleted": (
        ["v = Variable('v')\nv.set(1)", "v.delete()\nclient.submit(len, 'ab').result()", "n = 1"],
        "try:\n    v.get(timeout='0.5 s')\nexcept Exception as e:\n    print(type(e).__name__)",
        "rrrX"),
    "events": (
        ["a, b = Event('a'), Event('b')\na.set()\nb.set()", "b.clear()", "n = 1"],
        "print(a.is_set(), b.is_set(), a.wait(timeout=1))", "rrrX"),
    "two objects of one name": (
        ["e, q = Event('e'), Queue('q')", "Event('e').set()\nQueue('q').put(1)", "n = 1"],
        "print(e.is_set(), q.get(), Event('e').is_set())", "rrrX"),
    "what a task did": (
        ["v, e = Variable('v'), Event('e')",
         "def work():\n    from distributed import Event, Variable\n"
         "    Variable('v').set(7)\n    Event('e').set()\n    return 1\n"
         "client.submit(work).result()", "n = 1"],
        "print(v.get(timeout=5), e.is_set())", "rrrX"),
    "what a task did that nobody waits for": (
        ["v = Variable('v')",
         "def work():\n    import time\n    from distributed import Variable\n"
         "    time.sleep(0.5)\n    Variable('v').set(7)\nfire_and_forget(client.submit(work))",
         "n = 1"],
        "print(v.get(timeout=5))", "rrXX"),
    "locks that nobody holds": (
        ["l, s, m = Lock('l'), Semaphore(2, 's'), MultiLock(['x', 'y'])\n"
         "with l, s, m:\n    pass", "n = 1"],
        "print(l.locked(), l.acquire(timeout=1), s.acquire(), s.acquire(), s.get_value(),"
        " s.acquire(timeout=0.1), m.acquire(timeout=1), m.names)", "rrX"),
    "a semaphore of another size": (
        ["s = Semaphore(2, 's')\nwith s:\n    pass", "n = 1"],
        "try:\n    Semaphore(3, 's').acquire()\nexcept Exception as e:\n    print(e)", "rrX"),
    "a lock that is held": (
        ["l = Lock('l')", "l.acquire()", "n = 1"],
        "print(Lock('l').acquire(timeout=0.1), l.locked())", "rrXX"),
    "locks that are held": (
        ["l = MultiLock(['x', 'y'])", "l.acquire()", "n = 1"],
        "print(MultiLock(['y']).acquire(timeout=0.1), l.locked())", "rrXX"),
    "what is left of an iterator over tasks": (
        ["a = as_completed(client.map(abs, [-1, -2, -3]))\nfirst = next(a).result()", "n = 1"],
        "rest = sorted(f.result() for f in a)\nprint(sorted([first, *rest]), a.count())", "rrX"),
    "an iterator with results": (
        ["a = as_completed(client.map(abs, [-1, -2]), with_results=True)", "n = 1"],
        "print(sorted(r for f, r in a))", "rrX"),
    "an iterator that has ended": (
        ["a = as_completed(client.map(abs, [-1]))\nlist(a)", "n = 1"], "print(list(a))", "rrX"),
    "an executor": (
        ["x = client.get_executor(retries=2)\ny = client.get_executor()\ny.shutdown()", "n = 1"],
        "print(x.submit(len, 'abc').result(), x._kwargs, x._client is client)\n"
        "try:\n    y.submit(len, 'a')\nexcept RuntimeError as e:\n    print(e)", "rrX"),
    "a published dataset": (
        ["client.publish_dataset(d=[1, 2])", "client.publish_dataset(e=[3])", "n = 1"],
        "print(client.get_dataset('d'), client.get_dataset('e'))", "rXXX"),
    "metadata": (
        ["client.set_metadata('m', 1)", "n = 1"], "print(client.get_metadata('m'))", "rXX"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_scheduler_keeps_is_what_it_was(name, tmp_path):
    """In a repeat from a later cell, whose result is that of running all cells."""
    cells, edited, actions = CASES[name]
    assert repeated(tmp_path, cells, edited).actions == actions


def test_objects_of_the_kernel_in_a_queue_have_its_cell_run_again(tmp_path):
    """Where workers are threads a queue holds the object itself, not a copy."""
    cells = ["some = [1]\nq = Queue('q')\nq.put(some)", "some.append(2)", "n = 1"]
    edited = "found = q.get()\nprint(found, found is some)"
    assert repeated(tmp_path, cells, edited, INLINE).actions == "rXXX"
    plain = ["q = Queue('q')\nq.put(('a', 1))", "n = 1"]
    assert repeated(tmp_path / "plain", plain, "print(q.get())", INLINE).actions == "rrX"


def test_with_two_schedulers_nobody_guesses_whose_an_object_is(tmp_path):
    """What one of them keeps is made again by its cell."""
    cells = [
        "q = Queue('q')\nq.put(1)",
        "other = Client(processes=False, n_workers=1, set_as_default=False,"
        " dashboard_address=':0')\ne = Event('e', other)\ne.set()",
        "n = 1",
    ]
    found = repeated(tmp_path, cells, "print(q.get(), e.is_set(), Event('e').is_set())")
    assert "several Dask schedulers" in found.omitted["e"]


@pytest.fixture
def elsewhere(tmp_path):
    """The address of a scheduler in another process, with a worker."""
    program = (
        "import sys, time\nfrom distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    c = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=':0')\n"
        "    print(c.scheduler_address, flush=True)\n    sys.stdin.read()\n    c.close()\n"
    )
    (tmp_path / "cluster.py").write_text(program)
    found = subprocess.Popen(
        [sys.executable, str(tmp_path / "cluster.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield found.stdout.readline().strip()
    finally:
        found.stdin.close()
        found.wait(30)


def test_a_scheduler_in_another_process_is_asked(tmp_path, elsewhere):
    """What it keeps is in the state, as that of one in the kernel."""
    with distributed.Client(elsewhere) as client:
        queue, event, variable = (
            kind(name) for kind, name in zip(KINDS, ("q", "e", "v"), strict=True)
        )
        assert dask_contents.get()["queues"] == {"q": (0, 1, ())}
        queue.put({"a": (1, 2)})
        event.set()
        future = client.submit(sum, [1, 2])
        variable.set(future)
        client.gather(future)
        found = dask_contents.get()
        assert found["events"] == ("e",)
        assert found["queues"] == {"q": (0, 1, (("msgpack", {"a": (1, 2)}),))}
        assert found["variables"]["v"][1].future.key == future.key
        event.clear()
        queue.get()
        variable.set(5)
        dask_contents.set_(found)
        assert event.is_set() and variable.get().result() == 3
        assert queue.get() == {"a": (1, 2)} and queue.qsize() == 0
        dask_contents.set_(None)
        assert not event.is_set() and dask_contents.get() is None


def test_a_scheduler_that_cannot_be_looked_into_has_objects_left_out(tmp_path, monkeypatch):
    """With the reason; what is there is not taken for nothing."""
    monkeypatch.setattr(dask_contents, "_ask", _refuse)
    with distributed.Client(processes=False, n_workers=1, dashboard_address=":0"):
        found = dask_named.reduce(distributed.Queue("q"))
        assert isinstance(found, Omit) and "cannot look into" in found.reason
        assert not isinstance(dask_named.reduce(distributed.as_completed([])), Omit)


def _refuse(*arguments, **more):
    raise RuntimeError("no pickles here")


NOTEBOOK = (
    "from dask.distributed import Client, Event, Queue, Variable\n"
    "client = Client(n_workers=1, threads_per_worker=1, dashboard_address=':0')",
    "q = Queue('q')\nfor n in range(3):\n    q.put(n)\nevent = Event('done')",
    "def work(n):\n    import time\n    from distributed import Event, Variable\n"
    "    time.sleep(0.05)\n    Event('done').set()\n    Variable('v').set([n])\n    return n\n"
    "first = q.get()\ntotal = client.submit(work, 5).result() + 1",
    "print(q.qsize(), q.get(), q.get(), event.is_set(), Variable('v').get(timeout=5), total)",
)


def test_a_notebook_goes_on_with_what_its_scheduler_had(tmp_path):
    """In another process, and a task that did something in the scheduler is not loaded for it."""
    place, elsewhere = tmp_path / "author", tmp_path / "elsewhere"
    place.mkdir(), elsewhere.mkdir()
    write_notebook(place / "n.ipynb", *NOTEBOOK)
    done = run("nbrw-build", "n.ipynb", "-o", "image", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert not [o for cell in json.loads(done.stdout)["cells"] for o in cell["omitted"]]
    edited = NOTEBOOK[2].replace("+ 1", "+ 2")
    write_notebook(elsewhere / "e.ipynb", *NOTEBOOK[:2], edited, NOTEBOOK[3])
    for what, actions, total in (
        (("--from", "4"), ["restored"] * 3 + ["run"], 6),
        (("e.ipynb",), ["restored"] * 2 + ["run"] * 2, 7),
    ):
        argv = ("run", "--engine", "embedded", place / "image", "repeat", *what, "--json")
        done = run("nbrw", *argv, "-o", "out.ipynb", cwd=elsewhere)
        assert done.returncode == 0, done.stdout + done.stderr
        assert [c["action"] for c in json.loads(done.stdout)["cells"]] == actions
        made = json.loads((elsewhere / "out.ipynb").read_text())
        text = "".join(made["cells"][3]["outputs"][0]["text"])
        assert text == f"2 1 2 True (5,) {total}\n"
