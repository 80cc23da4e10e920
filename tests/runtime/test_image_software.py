"""What is the image's software, by what is mounted where."""

import pytest

from nbrw_runtime.image_software import image_software


def mounts(*lines):
    """mountinfo: (point, device, root of what is seen there)."""
    return "".join(
        f"{n} 1 {device} {root} {point} rw - kind source rw\n"
        for n, (point, device, root) in enumerate(lines)
    )


DOCKER = [
    ("/", "0:50", "/"), ("/proc", "0:5", "/"), ("/etc/hosts", "8:1", "/var/lib/docker/hosts"),
    ("/nbrw/work", "8:1", "/home/ada/work"),
]  # fmt: skip
UNDERLAY = [
    ("/", "0:40", "/"), ("/usr", "7:0", "/usr"), ("/opt", "7:0", "/opt"), ("/nbrw", "7:0", "/nbrw"),
    ("/etc/localtime", "8:1", "/usr/share/zoneinfo/UTC"), ("/home/ada", "8:1", "/home/ada"),
]  # fmt: skip
EMBEDDED = [
    ("/", "8:1", "/cache/rootfs/abc"), ("/opt/data", "8:1", "/opt/data"),
    ("/opt/copy", "8:1", "/cache/rootfs/abc/opt/copy"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "work", "foreign"),
    [
        (DOCKER, "/nbrw/work", {"/etc/hosts"}),
        (UNDERLAY, "/home/ada", {"/etc/localtime"}),
        ([*UNDERLAY, ("/usr", "8:1", "/usr")], "/home/ada", {"/etc/localtime", "/usr"}),
        ([*UNDERLAY, ("/opt/a\\040b", "8:1", "/x")], "/", {"/etc/localtime", "/opt/a b"}),
        (EMBEDDED, "/home/ada", {"/opt/data"}),
        (EMBEDDED, "/usr/local/mine", {"/opt/data", "/usr/local/mine"}),
        ([("/", "8:1", "/"), ("/nbrw/runtime", "8:2", "/x"), ("/usr", "8:2", "/usr")], "/w",
         {"/usr"}),
        ([], "/w", set()),
    ],
)  # fmt: skip
def test_what_the_caller_mounts_is_none(lines, work, foreign):
    """Nor is the work directory, wherever it is."""
    found = image_software(mounts(*lines), work)
    assert set(found.foreign) == foreign
    assert {"/usr", "/etc", "/nbrw/root", "/nbrw/runtime"} <= set(found.tops)
    assert not any(work == top or work.startswith(top + "/") for top in found.tops) or (
        work in found.foreign
    )
