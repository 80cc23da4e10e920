"""What a task does with files, as a worker sees it through Python."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker, shared_memory

import pytest

from nbrw_runtime import task_watch


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory that Python imports from, and keeps compiled modules in."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    task_watch.watch()
    yield tmp_path
    for name in ("made_up_one", "made_up_two"):
        sys.modules.pop(name, None)


def uses(function):
    """What it reads, and the first thing that it changes."""
    task_watch._uses.begin()
    try:
        function()
    finally:
        reads, changed = task_watch._uses.end()
    return set(reads), changed


def test_an_import_reads_the_source_and_changes_nothing(place):
    """Though Python lists its path and writes what it compiled; next time it reads only that."""
    source = place / "made_up_one.py"
    source.write_text("import os\nnames = os.listdir(os.path.dirname(__file__))\n")
    listing = f"{place}/"
    assert uses(lambda: __import__("made_up_one")) == ({str(source), listing}, "")
    assert (place / "__pycache__").is_dir()
    source.write_text("")
    (place / "made_up_two.py").write_text("")
    __import__("made_up_two")
    del sys.modules["made_up_two"]
    assert uses(lambda: __import__("made_up_two")) == ({str(place / "made_up_two.py")}, "")


def test_what_a_task_itself_lists_and_writes_counts(place):
    """Also of what Python imports from."""
    assert uses(lambda: os.listdir(place)) == ({f"{place}/"}, "")
    name = str(place / "made_up_one.py")
    assert uses(lambda: open(name, "w").close()) == (set(), name)
    assert uses(lambda: os.mkdir(place / "x")) == (set(), f"os.mkdir {place / 'x'}")


def test_directories_given_as_descriptors_are_those_that_they_stand_for(place):
    """And whatever an event has, it is not the task that fails."""
    (place / "full/inside").mkdir(parents=True)

    def listed():
        descriptor = os.open(place / "full", os.O_RDONLY)
        os.listdir(descriptor)
        os.close(descriptor)

    assert f"{place}/full/" in uses(listed)[0]
    reads, changed = uses(lambda: shutil.rmtree(place / "full"))
    assert changed == f"shutil.rmtree {place / 'full'}" and not (place / "full").exists()
    sys_event = uses(lambda: sys.audit("os.listdir", object()))
    assert "of which is not known" in sys_event[1]


def test_what_a_task_sets_in_its_process_is_a_change(place, monkeypatch):
    """The directory that it works in and its environment; not what a library sets for itself."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("NBRW_MADE_UP", "1")
    assert uses(lambda: os.chdir("/"))[1] == "os.chdir /"
    assert uses(lambda: os.putenv("NBRW_MADE_UP", "2"))[1] == "the environment (NBRW_MADE_UP)"
    assert uses(lambda: os.environ.pop("NBRW_MADE_UP"))[1] == "the environment (NBRW_MADE_UP)"
    (place / "made_up_one.py").write_text("import os\nos.environ['NBRW_MADE_UP'] = '3'\n")
    assert uses(lambda: __import__("made_up_one"))[1] == ""


def test_shared_memory_is_seen(place):
    """As files or as memory: it is none of what devices are."""
    name = f"nbrw-test-{os.getpid()}"
    path = f"/dev/shm/{name}"
    with open(path, "w") as stream:
        stream.write("12345678")
    try:
        assert uses(lambda: open(path).close()) == ({path}, "")
        assert uses(lambda: open(path, "a").close()) == (set(), path)

        def shared():
            memory = shared_memory.SharedMemory(name)
            memory.close()
            resource_tracker.unregister(f"/{name}", "shared_memory")

        assert uses(shared)[1].endswith(f"({path})") or "subprocess" in uses(shared)[1]
    finally:
        os.unlink(path)
    assert uses(lambda: open("/dev/null", "w").close()) == (set(), "")


def test_what_a_task_has_threads_do_is_its_own_doing(place):
    """Also a thread that a task before has started; not one that was there already."""
    path = place / "in"
    path.write_text("1")
    with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as pool:
        before.submit(int).result()
        assert uses(lambda: before.submit(path.read_text).result()) == (set(), "")
        for _ in range(2):
            assert uses(lambda: pool.submit(path.read_text).result()) == ({str(path)}, "")
        assert uses(lambda: pool.submit(os.mkdir, place / "x").result())[1].startswith("os.mkdir")


def test_code_that_a_pickle_names_is_read(place):
    """Whoever loaded the module before."""
    (place / "made_up_one.py").write_text("class Model:\n    pass\n")
    data = pickle.dumps(__import__("made_up_one").Model())
    assert uses(lambda: pickle.loads(data)) == ({str(place / "made_up_one.py")}, "")
