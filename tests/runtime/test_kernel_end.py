"""A kernel that ends in order looks for garbage once, and loses nothing by that."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

_LEAVES = """
import atexit, gc, os, sys
from nbrw_runtime import kernel_end

def last():
    kernel_end.leave([(s.st_dev, s.st_ino) for s in map(os.fstat, (1, 2))])
    print("frozen" if gc.get_freeze_count() else "as always", file=sys.stderr)

def empties():  # as IPython does
    notebook.clear()
    gc.collect()
    print("emptied", flush=True)

notebook = {}
atexit.register(last)
atexit.register(empties)
atexit.register(kernel_end.hold)
class Node:
    '''In a circle with itself: only the garbage collector ends it.'''
    def __init__(self, name):
        self.me, self.name = self, name
    def __del__(self):
        print(self.name, flush=True)
"""


def _ran(code, stdout=subprocess.PIPE):
    words = [sys.executable, "-c", _LEAVES + textwrap.dedent(code)]
    return subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True, check=True)


def test_what_only_the_notebook_held_is_finalised_and_then_nothing_is_looked_for_again():
    done = _ran("""
        kernel_end.ends_in_order()
        notebook["node"] = Node("finalised")
    """)
    assert done.stdout == "emptied\nfinalised\n"
    assert done.stderr == "frozen\n"


def test_a_file_that_a_library_holds_in_a_circle_is_written_whole(tmp_path):
    path = tmp_path / "late.txt"
    done = _ran(f"""
        kernel_end.ends_in_order()
        import json as library
        library.held = Node("held")
        library.held.stream = open({str(path)!r}, "w")
        library.held.stream.write("to the end")
    """)
    assert path.read_text() == "to the end"
    assert done.stderr == "as always\n"


def test_files_that_are_only_read_do_not_matter(tmp_path):
    path = tmp_path / "read.txt"
    path.write_text("x")
    done = _ran(f"""
        kernel_end.ends_in_order()
        stream = open({str(path)!r})
    """)
    assert done.stderr == "frozen\n"


def test_the_file_that_output_goes_to_does_not_matter(tmp_path):
    with open(tmp_path / "kernel.log", "w") as log:
        done = _ran("kernel_end.ends_in_order(); copy = os.dup(1)", log)
    assert done.stderr == "frozen\n"


@pytest.mark.parametrize("code", ["", "kernel_end.ends_in_order(); gc.disable()"])
def test_a_kernel_is_left_alone_that_was_just_told_to_end_or_collects_no_garbage(code):
    assert _ran(code).stderr == "as always\n"


def test_what_a_notebook_has_frozen_is_not_thawed():
    done = _ran("kernel_end.ends_in_order(); notebook['node'] = Node('lost'); gc.freeze()")
    assert "lost" not in done.stdout and done.stderr == "frozen\n"
