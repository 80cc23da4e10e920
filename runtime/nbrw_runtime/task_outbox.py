"""On a worker that the audited kernel did not start: what it stored waits to be fetched.

Its text is sent to workers behind that of `task_worker.py` and others, as one module: it imports
nothing but these and the standard library. Large buffers go to the kernel's store at once, if the
worker reaches it; all else waits in a directory of the worker's.

A fingerprint tells what software the *kernel* has; so a worker tells what it has itself.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
from importlib import metadata
from typing import Any

from nbrw_runtime.distributions import normal_name
from nbrw_runtime.process_identity import identity
from nbrw_runtime.task_worker import _making, _places, _segments, configure

#: The same files, by a name that no trace has: what is done here is not the notebook's doing.
_UNSEEN = "/proc/self/root"
_INSTALLED = re.compile(r"/(site|dist)-packages/")
_RATE = 75e6  # bytes in a second that are stored here and then fetched, by 1 Gbit/s
_TRACED = "NBRW_WORKER_TRACE"  # `nbrw worker` sets it, see `worker_witness.py`
_NO_MODULES = ("__main__", "__mp_main__")
_STANDARD = ("stdlib", "platstdlib")

worker: Any = None  # set by the plugin
_outboxes: dict = {}  # by the spools of kernels


def begin(root, spool, software, kernel):
    """This process is a worker of a notebook; as ``configure``. ``kernel`` is the identity of an
    audited kernel; None: it is none.
    """
    if kernel is None or identity() == kernel:
        configure(root, spool, software)
    elif spool not in _outboxes and os.environ.get(_TRACED):
        # A worker whose plugin fails does not start.
        with contextlib.suppress(OSError):
            _outboxes[spool] = Outbox(root, spool, software)


def end(_root, spool, *_):
    """The worker ends, or nobody asks any more."""
    box = _outboxes.pop(spool, None)
    if box is not None:
        box.close()


class Outbox:
    """What this worker has for one kernel. Raises OSError."""

    def __init__(self, root, spool, software):
        self._spool = spool
        local = _UNSEEN + os.path.abspath(getattr(worker, "local_directory", tempfile.gettempdir()))
        self.directory = tempfile.mkdtemp(prefix="nbrw-results-", dir=local)
        self._modules = LoadedModules(software)
        # Only there is a directory of that name.
        reached = os.path.isdir(_UNSEEN + spool) and os.access(_UNSEEN + root, os.W_OK | os.X_OK)
        store = _UNSEEN + root if reached else os.path.join(self.directory, "blobs")
        rate = {} if reached else {"rate": _RATE}
        configure(store, self.directory, software, spool, **rate)

    def contents(self):
        """The files that are complete with their sizes, lines last; and this worker's software."""
        with _making:
            segment = _segments.get((self.directory, os.getpid()))
        if segment is not None:
            segment.renew()
        found = []
        for place, _, names in os.walk(self.directory):
            for name in names:
                is_open = segment is not None and name.startswith(segment.name)
                if not is_open and not name.startswith("."):
                    path = os.path.join(place, name)
                    found.append((os.path.relpath(path, self.directory), os.path.getsize(path)))
        found.sort(key=lambda file: (_ORDER.get(os.path.splitext(file[0])[1], 0), file))
        return {
            "host": socket.gethostname(), "files": found, "software": digest_of_software(),
            "modules": self._modules.look(),
        }  # fmt: skip

    def parts(self, wanted, limit):
        """Bytes of files from offsets on, ``limit`` bytes at most."""
        found = []
        for name, offset in wanted:
            with open(os.path.join(self.directory, name), "rb") as stream:
                stream.seek(offset)
                data = stream.read(limit)
            found.append((name, offset, data))
            limit -= len(data)
            if limit <= 0:
                break
        return found

    def remove(self, names):
        """These have been fetched."""
        for name in names:
            os.unlink(os.path.join(self.directory, name))

    def close(self):
        """Nothing more is stored."""
        _places.pop(self._spool, None)
        _segments.pop((self.directory, os.getpid()), None)
        shutil.rmtree(self.directory, ignore_errors=True)


_ORDER = {".seg": 1, ".jsonl": 2}


def outbox(spool, name, *arguments):
    """What a method of this kernel's Outbox gives; None: it could not be made. Empty: there is no
    need of one, as the kernel started this worker, or as nobody knows what its tasks use.
    """
    if spool in _outboxes:
        return getattr(_outboxes[spool], name)(*arguments)
    return {} if spool in _places or not os.environ.get(_TRACED) else None


class LoadedModules:
    """The modules of this process that are neither Python's own nor installed."""

    def __init__(self, software):
        places = {sysconfig.get_path(kind) for kind in _STANDARD}
        self._software = (*software, *(f"{place}/" for place in places if place))
        self._looked = time.time_ns() - _age()
        self._known = {}
        self.look()

    def look(self):
        """By name the digest of its file; empty: it may not be what was loaded."""
        now = time.time_ns()
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None)
            if name in _NO_MODULES or not isinstance(path, str) or self._is_software(path):
                continue
            signature, digest = self._known.get(name, (None, ""))
            found = _signature(path)
            if signature is None:
                # What was loaded since the last look is what is there, if that is older.
                old = found and max(found[2:]) < self._looked
                self._known[name] = found or (), _digest(path) if old else ""
            elif found != signature and digest:
                self._known[name] = signature, ""
        self._looked = now
        return {name: digest for name, (_, digest) in self._known.items()}

    def _is_software(self, path):
        return path.startswith(self._software) or _INSTALLED.search(path)


def _signature(path):
    with contextlib.suppress(OSError):
        found = os.stat(_UNSEEN + os.path.abspath(path))
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return None


def _digest(path):
    with contextlib.suppress(OSError), open(_UNSEEN + os.path.abspath(path), "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()
    return ""


def _age():
    """How long ago this process began, in ns; rather more."""
    with open("/proc/uptime") as stream:
        now = float(stream.read().split()[0])
    with open("/proc/self/stat") as stream:
        began = int(stream.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return int((now - began + 0.02) * 1e9)


_software: dict = {}


def software():
    """Versions of Python and of the distributions that this process finds, by canonical name."""
    if not _software:
        paths = [_UNSEEN + os.path.abspath(path) for path in sys.path]
        for found in metadata.distributions(path=paths):
            name, version = _named(found)
            if name and name != "nbrw":
                _software.setdefault(name, version)
        _software["Python"] = f"{platform.python_implementation()} {platform.python_version()}"
        _software["machine"] = platform.machine()
    return _software


def _named(found):
    # By the directory's name, as an image may have no more of it: NAME-VERSION.dist-info.
    path = getattr(found, "_path", None)
    name, _, version = path.stem.partition("-") if path is not None else ("", "", "")
    if not version:
        name, version = found.metadata["Name"] or "", found.version
    return normal_name(name), version


def digest_of_software():
    """Equal for equal versions."""
    return hashlib.sha256(json.dumps(software(), sort_keys=True).encode()).hexdigest()
