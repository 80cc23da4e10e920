"""Which tasks that ran in a repeat are kept for later ones, and what they depend on."""

from __future__ import annotations

import stat

from nbrw_runtime.accesses import Stamp, Used
from nbrw_runtime.kept_tasks import why_not, with_uses
from nbrw_runtime.task_record import TaskRecord

KERNEL, WORKER = 1, 2
FILE = Stamp(1, 2, 3, 4, 5, stat.S_IFREG)
DIRECTORY = Stamp(1, 2, 3, 4, 5, stat.S_IFDIR)
PLAIN = TaskRecord("a")


def used(by=WORKER, **what):
    """What a cell used, by this thread."""
    seen = Used(**what)
    for paths in what.values():
        seen.users.update((path, {by}) for path in paths)
    return seen


def reads(seen, *records, content=lambda path, stamp: f"digest of {path}"):
    """What the first of some tasks is said to read."""
    found = with_uses(records or [PLAIN], seen, {KERNEL}, content)
    return found and found[0].reads


def test_what_workers_read_counts_for_every_task_of_the_cell():
    """Files, those looked for in vain, and the names in directories."""
    seen = used(read={"/d/x": FILE, "/d/none": None, "/d": DIRECTORY}, listed={"/e": DIRECTORY})
    assert reads(seen) == {"/d/x": "digest of /d/x", "/d/none": None, "/e/": "digest of /e/"}


def test_what_the_kernel_alone_uses_is_its_own_affair():
    """Unless a task ran there."""
    seen = used(by=KERNEL, read={"/d/x": FILE}, written={"/d/out"})
    assert reads(seen) == {} and why_not(seen, [PLAIN], {KERNEL}) == ""
    here = TaskRecord("a", here=True)
    assert reads(seen, here) == {"/d/x": "digest of /d/x"}
    assert "/d/out" in why_not(seen, [here], {KERNEL})


def test_what_a_task_was_seen_to_read_is_not_the_others_affair():
    """But for files that libraries open by themselves."""
    seen = used(read={"/d/x.csv": FILE, "/d/x.h5": FILE})
    other = TaskRecord("b", reads={"/d/x.csv": "c", "/d/x.h5": "h"})
    assert reads(seen, PLAIN, other) == {"/d/x.h5": "digest of /d/x.h5"}
    assert reads(seen, other, PLAIN) == other.reads


def test_nothing_is_kept_if_a_worker_wrote_what_no_task_is_known_to_have_written():
    """Scratch space of Dask's does not count."""
    assert "/d/out" in why_not(used(written={"/d/out"}), [PLAIN], {KERNEL})
    assert "/d/out" in why_not(used(removed={"/d/out"}), [PLAIN], {KERNEL})
    writer = TaskRecord("b", refused="it changes something outside: /d/out", unsafe=True)
    assert why_not(used(written={"/d/out"}), [PLAIN, writer], {KERNEL}) == ""
    scratch = used(written={"/w/dask-scratch-space/worker-1/x"})
    assert why_not(scratch, [PLAIN], {KERNEL}) == "" and reads(scratch) == {}


def test_nothing_is_kept_if_not_all_was_seen_or_something_came_from_afar():
    """Who knows what it was."""
    assert "FUSE" in why_not(Used(unseen=["a FUSE mount"]), [PLAIN], {KERNEL})
    assert "10.0.0.1:80" in why_not(Used(connected=["10.0.0.1:80"]), [PLAIN], {KERNEL})
    assert why_not(Used(connected=["127.0.0.1:8786"]), [PLAIN], {KERNEL}) == ""


def test_nothing_is_kept_if_a_file_has_changed_since():
    """Its content then is not known any more."""
    seen = used(read={"/d/x": FILE})
    assert reads(seen, content=lambda path, stamp: None) is None
