"""rpm packages, by what rpm's queries print."""

import os

from nbrw_builder.packages import Packages
from nbrw_builder.packages_rpm import RpmPackages, ask_rpm

ANSWERS = {
    "FILENAMES": "zlib\t1.3-2.el9\t/usr/lib64/libz.so.1\n"
    "zlib\t1.3-2.el9\t/usr/share/doc/zlib/README\n"
    "glibc\t2.34-1\t/usr/lib64/libc.so.6\nbash\t5.1-6\t/usr/bin/bash\n",
    "REQUIRENAME": "zlib\tlibc.so.6()(64bit)\nzlib\trpmlib(PayloadIsZstd)\n"
    "bash\t/usr/lib64/libz.so.1\n",
    "PROVIDENAME": "glibc\tlibc.so.6()(64bit)\nzlib\tzlib\n",
}


class Host:
    """Every file is there."""

    def lstat(self, path):
        """A regular file."""
        return os.stat_result((0o100755, *([0] * 9)))

    def realpath(self, path):
        """No links."""
        return path


def packages():
    """The packages of the answers."""
    return RpmPackages(Host(), lambda form: next(v for k, v in ANSWERS.items() if k in form))


def test_a_package_owns_its_files_by_both_names_without_documentation():
    """Version and release as rpm writes them."""
    for path in ("/usr/lib64/libz.so.1", "/lib64/libz.so.1"):
        found = packages().owner(path)
        assert (found.kind, found.name, found.version) == ("rpm", "zlib", "1.3-2.el9")
        assert found.files == ("/usr/lib64/libz.so.1",)


def test_requirements_are_resolved_by_capability_and_by_file():
    """What nobody provides (rpm's own features) is none."""
    found = packages()
    assert found.named("zlib").requires == ("glibc",)
    closure = Packages(Host(), [("rpm", found)]).closure([found.named("bash")])
    assert [package.name for package in closure] == ["bash", "glibc", "zlib"]


def test_without_rpm_there_are_no_packages(monkeypatch, tmp_path):
    """On Debian, say."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_rpm("x") == ""
    assert RpmPackages(Host()).owner("/usr/bin/bash") is None
