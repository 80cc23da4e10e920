"""What changes in files on their way into the image."""

import os
import struct

import pytest
from made_up_python import python

from nbrw_builder.entries import Entries
from nbrw_builder.errors import BuildError
from nbrw_builder.host import RealHost
from nbrw_builder.layer import FIXED_TIME
from nbrw_builder.relocate import compiled_head, image_environment, link_target, rewritten
from nbrw_builder.resolve import Resolved
from nbrw_runtime.dependency import Dependencies


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        ("/home/ada/a", "b", "b"),
        ("/home/ada/a", "../bob/b", "../bob/b"),
        ("/home/ada/a", "/home/ada/b", "/nbrw/root/home/ada/b"),
        ("/home/ada/python", "/usr/bin/python3", "/usr/bin/python3"),
        ("/home/ada/python", "../../usr/bin/python3", "/usr/bin/python3"),
        ("/usr/bin/tool", "/home/ada/tool", "/nbrw/root/home/ada/tool"),
        ("/lib", "usr/lib", "usr/lib"),
    ],
)
def test_a_link_leads_to_the_same_file_in_the_image(path, target, expected):
    """Relative ones stay unless they cross between relocated and system files."""
    assert link_target(path, target) == expected


def test_what_decides_how_python_starts_is_rewritten(tmp_path):
    """pyvenv.cfg, path files, finders of editable installs, scripts; nothing else."""
    env = tmp_path / "env"
    (env / "bin").mkdir(parents=True)
    files = {
        "pyvenv.cfg": ("home = /opt/py/bin\nversion = 3.11\ncommand = /x -m venv /y\n",
                       "home = /opt/py/bin\nversion = 3.11\n"),
        "a.pth": ("/home/ada/src\nimport x\n", "/nbrw/root/home/ada/src\nimport x\n"),
        "__editable___a_finder.py": ("MAPPING = {'a': '/home/ada/src/a'}",
                                     "MAPPING = {'a': '/nbrw/root/home/ada/src/a'}"),
        "bin/tool": (f"#!{env}/bin/python\nx\n", f"#!/nbrw/root{env}/bin/python\nx\n"),
        "bin/system": ("#!/usr/bin/perl\n", None),
        "module.py": ("PATH = '/home/ada'", None),
        "plain.pth": ("import x\n", None),
    }  # fmt: skip
    for name, (before, after) in files.items():
        (env / name).write_text(before)
        found = rewritten(str(env / name), RealHost(), python(str(env)))
        assert (found.decode() if found is not None else None) == after, name


def pyc(path, mtime, size, flags=0):
    """A compiled file that claims to be of such a source."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<4sIII", b"abcd", flags, mtime, size) + b"code")


def test_a_compiled_file_gets_the_images_time_if_it_is_valid(tmp_path):
    """An outdated one is left out: Python would run other code than the source says."""
    source = tmp_path / "m.py"
    source.write_text("x = 1")
    mtime = int(source.stat().st_mtime)
    path = tmp_path / "__pycache__/m.cpython-311.pyc"
    pyc(path, mtime, 5)
    assert compiled_head(str(path), RealHost()) == struct.pack("<4sIII", b"abcd", 0, FIXED_TIME, 5)
    for wrong in ((mtime - 1, 5), (mtime, 6)):
        pyc(path, *wrong)
        assert compiled_head(str(path), RealHost()) is None
    pyc(path, 1, 2, flags=1)  # by hash: no time in it
    assert compiled_head(str(path), RealHost()) == struct.pack("<4sIII", b"abcd", 1, 1, 2)


def test_variables_are_recorded_by_a_list_and_never_secrets():
    """A value that looks like one is not, either."""
    resolved = Resolved(Dependencies(), python(), (), (), ())
    variables = {
        "OMP_NUM_THREADS": "4", "DASK_SCHEDULER_ADDRESS": "tls://user:pw@host", "TZ": "UTC",
        "DASK_TOKEN": "abc", "AWS_SECRET_ACCESS_KEY": "abc", "HOME": "/home/ada",
    }  # fmt: skip
    found = image_environment(resolved, "/home/ada/env/bin/python", variables)
    assert found.variables == {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "4", "TZ": "UTC"}
    assert found.python == "/nbrw/root/home/ada/env/bin/python"


def entries(tmp_path, taken=None):
    """A collector for one layer."""
    return Entries(RealHost(), python(str(tmp_path / "env")), set() if taken is None else taken)


def test_links_on_the_way_to_a_file_are_in_the_image(tmp_path):
    """A path of the author's through links leads to the file there too."""
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/deep/file").write_text("x")
    os.symlink("real", tmp_path / "link")
    os.symlink(str(tmp_path / "link/deep/file"), tmp_path / "short")
    found = entries(tmp_path)
    found.add(str(tmp_path / "short"))
    made = {entry.path[len(f"/nbrw/root{tmp_path}") :]: entry for entry in found.result()}
    assert made["/short"].target == f"/nbrw/root{tmp_path}/link/deep/file"
    assert made["/link"].target == "real"
    assert made["/real/deep/file"].source is not None


def test_a_path_is_in_one_layer_only(tmp_path):
    """The lowest that has it."""
    (tmp_path / "file").write_text("x")
    taken = set()
    first, second = entries(tmp_path, taken), entries(tmp_path, taken)
    first.add(str(tmp_path / "file"))
    assert len(first.result()) == 1
    second.add(str(tmp_path / "file"))
    assert second.result() == ()


def test_a_used_file_that_is_gone_is_an_error_that_names_it(tmp_path):
    """If it must be there."""
    found = entries(tmp_path)
    found.add(str(tmp_path / "gone"))
    with pytest.raises(BuildError, match="gone"):
        found.add(str(tmp_path / "gone"), required=True)
