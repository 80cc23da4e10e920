"""What runs around a task on a Dask worker: it stores results, and loads them.

Workers have the notebook's environment, not nbrw: the text of this module is sent to them, behind
those of `task_watch.py` and `task_inputs.py`, and becomes the module ``nbrw_task_worker`` there
(:mod:`nbrw_runtime.task_ship`). So it imports nothing but that, the standard library, and what a
worker has in any case.

A worker appends to two files in the *spool*, a directory of one kernel: ``<name>.seg`` has the
pickles of results one after the other, ``<name>.jsonl`` a line for each result, written when the
pickle is there. Buffers of 64 kB and more are blobs of their own in the store. A line that is cut
off counts for nothing, and so does what only a killed worker wrote in part.
"""

import contextlib
import ctypes
import functools
import hashlib
import io
import itertools
import json
import mmap
import os
import pickle
import random
import sys
import tempfile
import threading
import time
import types
import uuid

from nbrw_runtime.task_inputs import Inputs
from nbrw_runtime.task_watch import _uses, note_change, watch

LARGE = 1 << 16  # bytes of a buffer that is a blob of its own
_SMALL = 4096  # bytes of a result that is stored whatever it cost to compute
# A result is stored if to store and load it takes less than to compute it anew.
_STORE_SECONDS = 0.0002
_LOAD_SECONDS, _LOAD_BYTES = 0.0002, 1e9


class Box:
    """Holds a node of a graph so that Dask does not look into it."""

    __slots__ = ("node",)

    def __init__(self, node):
        self.node = node

    def __reduce__(self):
        return Box, (self.node,)


class Place:
    """Where the results of one kernel's tasks go, and which directories are no task's inputs.

    ``rate``: bytes that are stored there in a second.
    """

    def __init__(self, root, spool, software, rate=200e6):
        self.root, self.spool, self.software, self.rate = root, spool, tuple(software), rate


_places: dict = {}  # by the name that tickets have; others may use the same worker
_latest = Place("", "", ())
here = False  # this is the notebook's own process, or one that a scheduler of Dask's own started


def configure(root, spool, software, name="", **more):
    """The store's root, the spool, and directories whose files are software: no task's inputs.

    Tickets have ``name``, or the spool.
    """
    global _latest
    _latest = _places[name or spool] = Place(root, spool, software, **more)
    watch()
    with contextlib.suppress(ImportError):
        import numpy.random  # noqa: F401  (its generator is looked at before each task)


def run(ticket, box, inputs):
    """Execute a task, and store what it gives. Nothing that goes wrong here is the task's affair.

    ``ticket``: the task's fingerprint, a label, and the name of the place where its result is to be
    stored; empty: it is not. Then which of its inputs others may use, and whether its code may
    change plain ones in place; nothing: nobody uses them.
    """
    if not ticket[2]:
        return box.node(inputs)
    given = Inputs(inputs, *ticket[3:]) if ticket[3:] else None
    before = _generator()
    _uses.begin()
    start, began = time.time_ns(), time.perf_counter()
    try:
        value = box.node(inputs)
    finally:
        seconds = time.perf_counter() - began
        reads, changed = _uses.end()
    try:
        spoils = given.changed() if given is not None else []
        if spoils:
            text = "it changes something outside: what it is given, in place"
            _segment(ticket).note(ticket, seconds, text, unsafe=True, spoils=spoils)
            return value
        _finish(ticket, value, inputs, seconds, (reads, changed), before, start)
    except Exception as error:
        with contextlib.suppress(Exception):
            text = f"it could not be stored: {type(error).__name__}: {error}"
            _segment(ticket).note(ticket, seconds, text, unsafe=True)
    return value


def run_here(ticket, box, inputs):
    """The same in the notebook's own process, whose random numbers it may take."""
    return run(ticket, Box(_WithoutChance(box.node)), inputs)


class _WithoutChance:
    def __init__(self, node):
        self._node = node

    def __call__(self, inputs):
        before = random.getstate(), _generator()
        value = self._node(inputs)
        if before != (random.getstate(), _generator()):
            note_change("the notebook's random numbers")
        return value


def note_unsafe(ticket, reason, reads=None):
    """Found out after the task: neither it nor anything that depends on it may be used again."""
    _segment(ticket).note(ticket, 0.0, reason, reads, unsafe=True)


def run_unless(ticket, box, inputs, candidates):
    """Load a result that is known for inputs like these; execute the task if there is none.

    ``candidates``: contents that inputs would have, where the result is, its task's fingerprint,
    and the files that it read: a task above may have written them since the task was sent.
    """
    software = _place_of(ticket).software
    for expected, where, fingerprint, reads in candidates:
        try:
            same = (_is_content(inputs[key], known, software) for key, known in expected.items())
            if all(same) and not _any_changed(reads):
                return _load_instead(ticket, where, fingerprint)
        except Exception:  # it cannot be told, or not be read
            continue
    return run(ticket, box, inputs)


def run_unless_in_table(ticket, box, inputs, table, contents):
    """The same, where more is known than travels with a task: see `task_table.py`.

    ``contents``: each input's key and content, in order; empty: it is yet to be seen.
    """
    try:
        software = _place_of(ticket).software
        seen = [known or _content(*_bare(inputs[key], software)) for key, known in contents]
        found = look_up(table, row_name(seen))
        if found and not _any_changed(found["reads"]):
            return _load_instead(ticket, found["where"], found["fingerprint"])
    except Exception:  # it cannot be told, or not be read
        pass
    return run(ticket, box, inputs)


def _load_instead(ticket, where, fingerprint):
    value = load(where)
    with contextlib.suppress(Exception):
        _segment(ticket).same(ticket, fingerprint)
    return value


def content_of(digest, buffers):
    """The content of a result, from the digests of its pickle and of its large buffers (hex)."""
    return ":".join((digest, *buffers))


def row_name(contents):
    """What a row of a table is found by, from the contents of all inputs: 64 characters."""
    return hashlib.sha256(" ".join(contents).encode()).hexdigest()


def look_up(path, name):
    """A row of a table: lines in order, each a name, a space and JSON. None: it has no such row."""
    with open(path, "rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    wanted, low, high = name.encode(), 0, len(data)
    with data:
        while low < high:
            start = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = data.find(b"\n", start) + 1 or len(data)
            found = data[start : start + len(wanted)]
            if found == wanted:
                return json.loads(data[start + len(wanted) : end])
            low, high = (end, high) if found < wanted else (low, start)
    return None


def _any_changed(reads):
    return any(itertools.starmap(has_changed, reads.items()))


def _bare(value, software):
    """As ``_pickled``. Raises ValueError for what has no content: code that the pickle only names
    may be other code now.
    """
    named: set = set()
    found = _pickled(value, named=named)
    own = _own_modules(named, software)
    if own:
        raise ValueError(f"it has code of {own[0]}")
    return found


def _is_content(value, content, software):
    payload, large = _bare(value, software)
    return len(large) == content.count(":") and _content(payload, large) == content


def _content(payload, large):
    digests = (hashlib.sha256(data).hexdigest() for data in (payload, *large))
    return content_of(next(digests), digests)


def load(where):
    """A stored result. Raises ValueError if it is not what it was."""
    with open(where["path"], "rb") as stream:
        stream.seek(where["offset"])
        payload = stream.read(where["length"])
    _check(payload, where["digest"], where["path"])
    buffers = [_map(path, digest) for path, digest in where["buffers"]]
    return pickle.loads(payload, buffers=buffers)


def _map(path, digest):
    with open(path, "rb") as stream:
        found = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    _check(found, digest, path)
    return found


def _check(data, digest, path):
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise ValueError(f"a stored result in {path} is corrupt: its digest is {found}")


# -- whether a result is stored --------------------------------------------------------------------


_drawn: tuple = (b"", 1)  # the generator's state when it was last asked for, see below


def _generator():
    # Not Python's own: Dask draws from that in other threads all the time.
    global _drawn
    numpy = sys.modules.get("numpy.random")
    if numpy is None:
        return None
    numbers = _numbers_of(numpy)
    if numbers is None:
        return repr(numpy.get_state(legacy=False))
    # Asking takes as long as all else here. Without a Gaussian kept back it is all in the numbers.
    if numbers != _drawn[0] or _drawn[1]:
        kind, state, place, kept, gaussian = numpy.get_state()
        _drawn = (numbers, kept, kind, state.tobytes(), place, gaussian)
    return _drawn


def _numbers_of(numpy):
    """The numbers of the global generator and its place in them; None if it is of another kind."""
    try:
        generator = numpy.mtrand._rand._bit_generator
        if type(generator).__name__ != "MT19937":
            return None
        return ctypes.string_at(generator.ctypes.state_address, 625 * 4)
    except Exception:
        return None


def _finish(ticket, value, inputs, seconds, uses, before, start):
    reads, changed = uses
    segment, place = _segment(ticket), _place_of(ticket)
    if changed:
        text = f"it changes something outside: {changed}"
        segment.note(ticket, seconds, text, unsafe=True)
        return
    stamps = _stamps(reads, start, place.software)
    reason = _unstorable(value, seconds, inputs, place.rate)
    if not reason:
        try:
            _store(segment, place, ticket, value, seconds, stamps)
        except OSError:
            raise
        except Exception as error:
            reason = f"its result cannot be pickled: {type(error).__name__}: {error}"
    if reason:
        # A result that is drawn is the same again only if it is loaded. (What a task's own code
        # draws is in its fingerprint; here it is libraries.)
        drawn = _generator() != before
        segment.note(ticket, seconds, reason, stamps, drawn)


def _unstorable(value, seconds, inputs, rate):
    """Why a result is not stored; empty: it is."""
    if hasattr(value, "__next__") or hasattr(value, "__await__"):
        return f"its result is an iterator ({type(value).__name__})"
    size = _size(value)
    if not _is_worth(size, seconds, inputs, rate):
        return f"{size} bytes take longer to store and load than {seconds:.4f} s to compute"
    return ""


def _is_worth(size, seconds, inputs, rate):
    if size <= _SMALL:
        return True
    again = seconds + sum(_LOAD_SECONDS + _size(v) / _LOAD_BYTES for v in inputs.values())
    return _STORE_SECONDS + _LOAD_SECONDS + size / rate + size / _LOAD_BYTES <= again


def _size(value):
    if here:  # Dask takes samples of it, and for that the notebook's random numbers
        size = getattr(value, "nbytes", None)
        if isinstance(size, int):
            return size
        try:
            payload, large = _pickled(value)
        except Exception:  # it is not stored in any case
            return 0
        return len(payload) + sum(data.nbytes for data in large)
    from dask.sizeof import sizeof

    return sizeof(value)


# -- storing ---------------------------------------------------------------------------------------


def _store(segment, place, ticket, value, seconds, reads):
    classes: dict = {}
    named: set = set()
    payload, large = _pickled(value, classes, named)
    for name, number in classes.items():
        if not number.startswith("nbrw-"):
            raise TypeError(f"it has an object of class {name}, which is no global of the notebook")
    buffers = [_put_blob(place.root, raw) for raw in large]
    size = len(payload) + sum(raw.nbytes for raw in large)
    names = [f"{name} {number}" for name, number in sorted(classes.items())]
    opaque = bool(_own_modules(named, place.software))
    segment.add(ticket, seconds, payload, buffers, size, reads, names, opaque)


def _own_modules(names, software):
    """Those of these modules that are neither installed nor Python's own."""
    files = ((name, getattr(sys.modules.get(name), "__file__", None)) for name in names)
    return [name for name, path in files if isinstance(path, str) and not path.startswith(software)]


def _pickled(value, classes=None, named=None):
    """The pickle of a value, and its large buffers; ``classes`` gets those sent by value, ``named``
    the modules of which it has something by its name.
    """
    large: list = []

    def take(buffer):
        raw = buffer.raw()
        if raw.nbytes < LARGE:
            return True
        large.append(raw)
        return False

    stream = io.BytesIO()
    pickler = _pickler()(stream, protocol=5, buffer_callback=take)
    pickler.by_value = {} if classes is None else classes
    pickler.named = set() if named is None else named
    pickler.dump(value)
    return stream.getvalue(), large


@functools.lru_cache(maxsize=1)
def _pickler():
    import cloudpickle

    known = getattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_CLASS", {})

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj):
            if isinstance(obj, io.IOBase):
                # cloudpickle would make a text of it.
                raise TypeError("an open file cannot be stored")
            found = super().reducer_override(obj)
            if found is NotImplemented or isinstance(obj, types.ModuleType):
                module = getattr(obj, "__module__", None) or getattr(obj, "__name__", None)
                if isinstance(module, str):
                    self.named.add(module)
            made = isinstance(obj, type) and isinstance(found, tuple) and found[0]
            if getattr(made, "__name__", "").startswith("_make_skeleton"):
                self.by_value[obj.__name__] = known.get(obj, "")
            return found

    return Pickler


_digests: dict = {}


def _stamps(reads, start, software):
    """Digests of the files that a task read; None for one that is not there.

    Raises ValueError if one has changed since the task began (``start``, in ns since the epoch).
    """
    found = {}
    for path in reads:
        if path.startswith(software):
            continue
        try:
            found[path] = digest_of(path, start)
        except FileNotFoundError:
            found[path] = None
    return found


def digest_of(path, start=None):
    """The digest of a file's content, or (with a slash at its end) of a directory's names."""
    status = os.stat(path)
    if start is not None and max(status.st_mtime_ns, status.st_ctime_ns) >= start:
        raise ValueError(f"{path} changed while the task ran")
    key = path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if key not in _digests:
        if path.endswith("/"):
            names = json.dumps(sorted(os.listdir(path)))
            return hashlib.sha256(names.encode()).hexdigest()
        total = hashlib.sha256()
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
        _digests[key] = total.hexdigest()
    return _digests[key]


def has_changed(path, digest):
    """Whether a file, or a directory's names, are not what a task read (None: not there)."""
    try:
        return digest_of(path) != digest
    except FileNotFoundError:
        return digest is not None
    except OSError:
        return True


def _put_blob(root, data):
    digits = hashlib.sha256(data).hexdigest()
    directory = os.path.join(root, "sha256")
    target = os.path.join(directory, digits)
    if not os.path.exists(target):
        if not os.path.isdir(directory):
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
    return digits


def store_value(value, root):
    """Write a value into the store as one pickle; returns its digest, or the pickle itself where
    the store is out of reach.
    """
    import cloudpickle

    data = cloudpickle.dumps(value, protocol=5)
    return "sha256:" + _put_blob(root, data) if os.path.isdir(root) else data


def load_value(path, digest):
    """Such a value. Raises ValueError if it is not what it was."""
    with open(path, "rb") as stream:
        data = stream.read()
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if found != digest:  # whoever reads this finds the cell that made the blob
        raise ValueError(f"blob {digest} in {path} is corrupt: its digest is {found}")
    return pickle.loads(data)


class Segment:
    """Two files of this process; appended to by all of its threads, one after the other."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self._lock = threading.Lock()
        self._directory = directory
        self._open()

    def _open(self):
        self.name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        path = os.path.join(self._directory, self.name)
        self._data = open(f"{path}.seg", "ab", buffering=0)  # noqa: SIM115  (see renew)
        self._lines = open(f"{path}.jsonl", "ab", buffering=0)  # noqa: SIM115
        self._offset = 0

    def renew(self):
        """What comes from now on goes to files of another name."""
        with self._lock:
            if self._lines.tell():
                before = self._data, self._lines
                self._open()
                for stream in before:
                    stream.close()

    def add(self, ticket, seconds, payload, buffers, size, reads, classes, opaque):
        """A result."""
        digest = hashlib.sha256(payload).hexdigest()
        with self._lock:
            offset = self._offset
            written = 0
            try:
                while written < len(payload):
                    written += self._data.write(payload[written:])
            finally:
                self._offset += written
            self._line(
                ticket, seconds, segment=self.name, offset=offset, length=len(payload),
                digest=digest, buffers=buffers, size=size, reads=reads, classes=classes,
                opaque=opaque,
            )  # fmt: skip

    def note(self, ticket, seconds, reason, reads=None, unsafe=False, **more):
        """Why there is none; ``unsafe``: nor may anything be used again that depends on it."""
        with self._lock:
            self._line(ticket, seconds, refused=reason, unsafe=unsafe, reads=reads or {}, **more)

    def same(self, ticket, fingerprint):
        """A task did not run: its result is that of another fingerprint."""
        with self._lock:
            self._line(ticket, 0.0, same=fingerprint)

    def _line(self, ticket, seconds, **more):
        record = {
            "fingerprint": ticket[0], "label": ticket[1], "seconds": round(seconds, 6), **more,
        }  # fmt: skip
        if here:
            record["here"] = True
        data = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        if self._lines.write(data) != len(data):
            # Whoever reads skips what is no line of JSON.
            self._lines.write(b"\n")
            raise OSError("the disk is full")


_segments: dict = {}
_making = threading.Lock()


def _place_of(ticket):
    """The place that a ticket names. Raises KeyError if it is none any more."""
    return _places[ticket[2]] if len(ticket) > 2 and ticket[2] else _latest


def _segment(ticket):
    spool = _place_of(ticket).spool
    with _making:
        key = (spool, os.getpid())
        if key not in _segments:
            _segments[key] = Segment(spool)
        return _segments[key]
