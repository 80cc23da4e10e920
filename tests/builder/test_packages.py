"""Who owns a file: distributions, conda and Debian packages."""

import json

import pytest

from nbrw_builder.host import RealHost
from nbrw_builder.packages import Package, Packages, source_of
from nbrw_builder.packages_conda import CondaPackages
from nbrw_builder.packages_dpkg import DpkgPackages
from nbrw_builder.packages_python import PythonDistributions


def put(root, files):
    """Write files below a directory."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def site(tmp_path):
    """A site-packages directory with three distributions, one of them editable."""
    source = tmp_path / "src"
    put(tmp_path / "site", {
        "alpha/__init__.py": "", "alpha/data.txt": "", "alpha-1.0.dist-info/METADATA":
        "Name: Alpha\nVersion: 1.0\nRequires-Dist: beta_lib>=1\n"
        "Requires-Dist: absent\nRequires-Dist: beta-lib; sys_platform == 'win32'\n"
        "Requires-Dist: gamma; extra == 'more'\n",
        "alpha-1.0.dist-info/RECORD": "alpha/__init__.py,,\nalpha/data.txt,,\nalpha/gone.py,,\n"
        "../bin/alpha,,\nalpha-1.0.dist-info/METADATA,,\n",
        "../bin/alpha": "#!/usr/bin/python\n",
        "beta_lib.py": "", "Beta_Lib-2.0.dist-info/METADATA": "Name: Beta-Lib\nVersion: 2.0\n",
        "Beta_Lib-2.0.dist-info/RECORD": "beta_lib.py,,\n",
        "gamma-3.dist-info/METADATA": "Name: gamma\nVersion: 3\n",
        "gamma-3.dist-info/RECORD": "gamma.pth,,\n", "gamma.pth": str(source),
        "gamma-3.dist-info/direct_url.json":
        json.dumps({"url": f"file://{source}", "dir_info": {"editable": True}}),
    })  # fmt: skip
    put(source, {"gamma/__init__.py": "", "gamma/table.csv": ""})
    return tmp_path


def test_a_distribution_owns_what_it_recorded_and_is_there(site):
    """Scripts too; what is gone is not its any more."""
    found = PythonDistributions(RealHost(), [str(site / "site")])
    alpha = found.owner(str(site / "site/alpha/data.txt"))
    assert (alpha.name, alpha.version) == ("Alpha", "1.0")
    assert str(site / "bin/alpha") in alpha.files
    assert not any("gone" in path for path in alpha.files)


def test_requirements_are_those_of_this_platform_without_extras(site):
    """Markers are evaluated for the notebook's Python."""
    markers = {"sys_platform": "linux"}
    found = PythonDistributions(RealHost(), [str(site / "site")], markers)
    assert found.named("alpha").requires == ("beta-lib", "absent")


def test_the_closure_has_installed_requirements_only(site):
    """What is not installed is not packed."""
    host = RealHost()
    python = PythonDistributions(host, [str(site / "site")], {"sys_platform": "linux"})
    packages = Packages(host, [("python", python)])
    closure = packages.closure([python.named("alpha")])
    assert [package.name for package in closure] == ["Alpha", "Beta-Lib"]


def test_an_editable_install_owns_its_source_but_not_data_beside_it(site):
    """Data in a source tree are the author's inputs."""
    found = PythonDistributions(RealHost(), [str(site / "site")])
    assert found.owner(str(site / "src/gamma/__init__.py")).name == "gamma"
    assert found.owner(str(site / "src/gamma/table.csv")) is None


def test_a_compiled_file_belongs_to_the_owner_of_its_source(site):
    """RECORD need not list it."""
    host = RealHost()
    packages = Packages(host, [("python", PythonDistributions(host, [str(site / "site")]))])
    path = str(site / "site/alpha/__pycache__/__init__.cpython-311.pyc")
    assert source_of(path) == str(site / "site/alpha/__init__.py")
    assert packages.owner(path).name == "Alpha"


def test_conda_packages_own_their_files(tmp_path):
    """By conda-meta."""
    value = {
        "name": "zlib", "version": "1.3", "files": ["lib/libz.so", "lib/gone"],
        "depends": ["libc >=2", "python 3.11.*"],
    }  # fmt: skip
    put(tmp_path, {"conda-meta/zlib-1.3.json": json.dumps(value), "lib/libz.so": ""})
    found = CondaPackages(RealHost(), str(tmp_path))
    package = found.owner(str(tmp_path / "lib/libz.so"))
    assert (package.name, package.requires) == ("zlib", ("libc", "python"))
    assert str(tmp_path / "lib/gone") not in package.files


class Dpkg:
    """A host that has nothing but dpkg's database."""

    FILES = {
        "/var/lib/dpkg/status": "Package: libz1\nStatus: install ok installed\nVersion: 1.2-3\n"
        "Depends: libc6 (>= 2.4), default-mta | mail-agent\nProvides: libz\n\n"
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n\n"
        "Package: removed\nStatus: deinstall ok config-files\nVersion: 1\n",
        "/var/lib/dpkg/info/libz1:amd64.list": (
            "/.\n/lib\n/lib/libz.so.1\n/usr/share/doc/libz1/NEWS\n"
        ),
        "/var/lib/dpkg/info/libc6:amd64.list": "/usr/lib/libc.so.6\n",
    }

    def read(self, path, limit=-1):
        """A file's bytes."""
        return self.FILES.get(path, "").encode()

    def listdir(self, path):
        """Names in dpkg's directory."""
        return [name.rpartition("/")[2] for name in self.FILES if name.startswith(path + "/")]

    def lstat(self, path):
        """Everything is a regular file."""
        import os

        return os.stat_result((0o100644, *([0] * 9)))


@pytest.mark.parametrize("path", ["/lib/libz.so.1", "/usr/lib/libz.so.1"])
def test_a_debian_package_owns_a_file_by_both_names_of_a_merged_usr(path):
    """dpkg knows one of them only."""
    found = DpkgPackages(Dpkg()).owner(path)
    assert (found.name, found.version) == ("libz1", "1.2-3")


def test_debian_packages_require_installed_ones_and_leave_documentation():
    """Alternatives that are not installed are none; removed packages are not there."""
    packages = DpkgPackages(Dpkg())
    libz = packages.named("libz")
    assert "libc6" in libz.requires
    assert not any("/doc/" in path for path in libz.files)
    assert packages.named("removed") is None
    closure = Packages(Dpkg(), [("dpkg", packages)]).closure([libz])
    assert [package.name for package in closure] == ["libc6", "libz1"]


def test_packages_that_require_each_other_are_both_there_once():
    """Cycles end."""

    class Cycle:
        def named(self, name):
            return Package("python", name, "1", "/", (), ("b" if name == "a" else "a",))

        def owner(self, path):
            return None

    closure = Packages(Dpkg(), [("python", Cycle())]).closure([Cycle().named("a")])
    assert [package.name for package in closure] == ["a", "b"]
