"""What a task does beside computing, as far as Python sees it: files, prints, the cluster.

Its text is sent to workers before that of `task_worker.py`, as one module: it imports nothing but
the standard library.
"""

import contextlib
import importlib.util
import os
import sys
import threading
import types
import weakref

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset(
    {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate",
     "os.chmod", "os.chdir", "shutil.rmtree", "subprocess.Popen", "os.system", "os.exec",
     "os.posix_spawn"}
)  # fmt: skip
_ENVIRONMENT = frozenset({"os.putenv", "os.unsetenv"})
_EVENTS = _CHANGES | _ENVIRONMENT | {
    "open", "os.listdir", "os.scandir", "socket.connect", "mmap.__new__", "pickle.find_class"
}  # fmt: skip
_SHARED = "/dev/shm/"  # files like others, but for where they are
_IMPORT = "<frozen importlib"
_NO_FILES = ("/dev/", "/proc/", "/sys/")
_DASK = frozenset({"dask", "distributed", "tornado"})

SHOWS = "what the notebook shows"
_CLUSTER = "what it asks of the cluster itself, such as other tasks"


class Used:
    """What one task did."""

    def __init__(self):
        self.reads: dict = {}
        self.changed = ""

    def read(self, path):
        """It reads a file; a slash at the end: a directory's names."""
        self.reads.setdefault(path, None)

    def change(self, what):
        """It changes something; the first counts."""
        self.changed = self.changed or what


class Uses(threading.local):
    """The task of this thread."""

    active = False

    def begin(self):
        """A task begins."""
        self.used, self.active = Used(), True
        _running.add(self.used)

    def end(self):
        """It has ended: what it read, and the first thing that it changed."""
        self.active = False
        _running.discard(self.used)
        return self.used.reads, self.used.changed


_running: set = set()  # what the tasks of all threads did so far
_helpers: weakref.WeakSet = weakref.WeakSet()  # threads that tasks started
_uses = Uses()
_hooked = False


def _tasks():
    """The task of this thread. For which task a thread works that one has started, now or before,
    nobody knows: for all that run.
    """
    if _uses.active:
        return (_uses.used,)
    if _running and _helpers and _this_thread() in _helpers:
        return tuple(_running)
    return ()


def _this_thread():
    return threading._active.get(threading.get_ident())  # type: ignore[attr-defined]


def _hook(event, arguments):
    if event not in _EVENTS or not _running:
        return
    tasks = _tasks()
    if not tasks:
        return  # (to ask for a frame is an event, too)
    # An import lists Python's path and keeps what it has compiled: not the task's doing.
    importing = sys._getframe(1).f_code.co_filename.startswith(_IMPORT)
    for used in tasks:
        try:
            _see(used, event, arguments, importing)
        except Exception as error:  # or it would be the task's
            used.change(f"{event} {arguments}, of which is not known what it is ({error})")


def _see(used, event, arguments, importing):
    if event == "open":
        path, mode, flags = arguments
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        name = os.path.abspath(os.fsdecode(path))
        if name.startswith(_NO_FILES) and not name.startswith(_SHARED):
            return
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & _WRITES:
            if not importing:
                used.change(name)
        elif mode is None and os.path.isdir(name):
            used.read(name.rstrip("/") + "/")
        else:
            used.read(_source(name) if importing else name)
    elif importing:
        return
    elif event in ("os.listdir", "os.scandir"):
        used.read(_name(arguments[0]).rstrip("/") + "/")
    elif event in _CHANGES:
        used.change(f"{event} {arguments[0]}")
    elif event in _ENVIRONMENT:
        # A library that is imported may set what it needs itself.
        if not _is_inside_import():
            used.change(f"the environment ({os.fsdecode(arguments[0])})")
    elif event == "socket.connect":
        used.change(f"a connection to {arguments[1]}")
    elif event == "mmap.__new__":
        if arguments[0] >= 0 and _name(arguments[0]).startswith(_SHARED):
            used.change(f"memory that others share ({_name(arguments[0])})")
    elif event == "pickle.find_class":
        # It uses the code of that module, whoever loaded it.
        path = getattr(sys.modules.get(arguments[0]), "__file__", None)
        if isinstance(path, str):
            used.read(os.path.abspath(path))


def _name(path):
    """The absolute path that an event tells; it may have a descriptor instead."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    return os.path.abspath(os.fsdecode(path or "."))


def _is_inside_import():
    frame: types.FrameType | None = sys._getframe(3)
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT):
            return True
        frame = frame.f_back
    return False


def _source(path):
    with contextlib.suppress(ValueError):
        return importlib.util.source_from_cache(path)
    return path


def watch():
    """From here on what tasks of this process do is seen."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)
        _watch_threads()
    _watch_clients()
    _watch_scheduler()


def _watch_threads():
    original = threading.Thread.start

    def start(self):
        does = getattr(self, "_target", None) or type(self)
        if str(getattr(does, "__module__", "")).partition(".")[0] not in _DASK and _tasks():
            _helpers.add(self)
        return original(self)

    threading.Thread.start = start  # type: ignore[method-assign]


#: What tasks may use that lives in the scheduler, and the methods that all uses go through.
_IN_SCHEDULER = (
    ("distributed.event", "Event", ("_verify_running",)),
    ("distributed.variable", "Variable", ("_verify_running",)),
    ("distributed.queues", "Queue", ("_verify_running",)),
    ("distributed.client", "Client", ("publish_dataset", "unpublish_dataset", "get_dataset",
                                      "list_datasets", "set_metadata", "get_metadata")),
)  # fmt: skip


def _watch_scheduler():
    for module, name, methods in _IN_SCHEDULER:
        kind = getattr(sys.modules.get(module), name, None)
        for method in methods if kind is not None else ():
            watch_calls(kind, method, f"what a {name} of Dask's stands for")


def note_change(what):
    """The task of this thread changes something; returns whether there is one."""
    tasks = _tasks()
    for used in tasks:
        used.change(what)
    return bool(tasks)


def in_task():
    """Whether this thread executes a task."""
    return bool(_tasks())


def watch_calls(owner, name, what, counts=lambda *arguments: True):
    """Have it count as a change of ``what`` if a task calls this method."""
    original = getattr(owner, name)
    if getattr(original, "_nbrw_watch", False):
        return

    def watched(self, *arguments, **options):
        if _running and counts(*arguments):
            note_change(what)
        return original(self, *arguments, **options)

    watched._nbrw_watch = True  # type: ignore[attr-defined]
    setattr(owner, name, watched)


def _watch_clients():
    """What a task asks the cluster, or starts there, nobody sees."""
    client = getattr(sys.modules.get("distributed.client"), "Client", None)
    if client is not None:
        watch_calls(client, "sync", _CLUSTER)
        watch_calls(client, "_send_to_scheduler", _CLUSTER, _starts)


def _starts(message):
    return str(message.get("op")).startswith("update-graph")


class _Stream:
    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        note_change(SHOWS)
        return self._stream.write(text)


def watch_prints():
    """Have it count as a change if a task prints. Streams are replaced, or their class patched."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or type(stream) is _Stream:
            continue
        try:
            watch_calls(type(stream), "write", SHOWS)
        except TypeError:  # a class of Python's own
            setattr(sys, name, _Stream(stream))
