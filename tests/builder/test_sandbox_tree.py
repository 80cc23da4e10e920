"""Where the sandbox shows what of the image."""

from __future__ import annotations

import pytest

from nbrw_builder.sandbox_tree import BIND, LINK, MAKE, Step, outermost, plan_tree


@pytest.fixture
def root(tmp_path):
    """An image with the author's home as a link into /nbrw/root, and merged /usr."""
    for name in ("usr/lib", "etc", "nbrw/root/home/ada/env", "nbrw/root/scratch/x/data", "proc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/passwd").touch()
    (tmp_path / "etc/group").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/ada").symlink_to("/nbrw/root/home/ada")
    (tmp_path / "home/bob").symlink_to("/nbrw/root/home/bob")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/x").symlink_to("/nbrw/root/scratch/x")
    (tmp_path / "nbrw/root/scratch/x/file").touch()
    (tmp_path / "lib").symlink_to("usr/lib")
    return tmp_path


def plan(root, *targets):
    return {step.path: step for step in plan_tree(root, targets)}


def test_what_no_target_lies_in_is_bound_whole(root):
    """One mount for /usr, none for what is in it; links stay links."""
    steps = plan(root, "/proc")
    assert steps["/usr"] == Step(BIND, "/usr", str(root / "usr"))
    assert steps["/lib"] == Step(LINK, "/lib", "usr/lib")
    assert steps["/proc"].act == MAKE
    assert "/usr/lib" not in steps


def test_a_target_the_image_lacks_is_made_with_its_parents(root):
    """/data/work is nowhere in the image."""
    steps = plan(root, "/data/work")
    assert [steps["/data"].act, steps["/data/work"].act] == [MAKE, MAKE]


def test_siblings_of_a_target_stay(root):
    """The caller's home appears beside the author's."""
    steps = plan(root, "/home/carol")
    assert steps["/home"].act == MAKE
    assert steps["/home/ada"] == Step(LINK, "/home/ada", "/nbrw/root/home/ada")
    assert steps["/home/carol"].act == MAKE


def test_the_callers_home_replaces_the_link_of_the_authors(root):
    """The author's files stay where they are relocated to."""
    steps = plan(root, "/home/ada")
    assert steps["/home/ada"].act == MAKE
    assert steps["/home/bob"].act == LINK
    assert steps["/nbrw"] == Step(BIND, "/nbrw", str(root / "nbrw"))


def test_a_target_beyond_a_link_hides_nothing_that_is_relocated(root):
    """Its directory is filled with links to what the image's link leads to."""
    steps = plan(root, "/scratch/x/work")
    assert steps["/scratch/x"].act == MAKE
    assert steps["/scratch/x/work"].act == MAKE
    assert steps["/scratch/x/file"] == Step(LINK, "/scratch/x/file", "/nbrw/root/scratch/x/file")
    assert steps["/scratch/x/data"] == Step(LINK, "/scratch/x/data", "/nbrw/root/scratch/x/data")
    assert steps["/nbrw"].act == BIND


def test_a_single_file_can_be_a_target(root):
    """Then its directory consists of single entries."""
    steps = plan(root, "/etc/passwd")
    assert steps["/etc"].act == MAKE
    assert steps["/etc/passwd"].act == MAKE
    assert steps["/etc/group"].act == BIND


def test_directories_come_before_what_is_in_them(root):
    """The steps can be carried out in order."""
    paths = [step.path for step in plan_tree(root, ["/data/a/b", "/home/carol", "/scratch/x/w"])]
    assert len(set(paths)) == len(paths)
    for number, path in enumerate(paths):
        parent = path.rsplit("/", 1)[0]
        assert parent in ("", *paths[:number])


def test_a_link_loop_is_no_directory(root):
    """An image may have links that lead nowhere."""
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert plan(root, "/a/work")["/a/work"].act == MAKE


def test_only_outermost_directories_are_mounted():
    """What lies below comes with the mount; a common prefix of names is not enough."""
    assert outermost(["/tmp/x", "/tmp", "/tmpfs", "/home/a/b", "/home/a"]) == [
        "/home/a", "/tmp", "/tmpfs",
    ]  # fmt: skip
