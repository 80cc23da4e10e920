"""From events to dependencies."""

import os

import pytest
from made_up_python import python

from nbrw_builder.host import RealHost
from nbrw_builder.resolve import ResolveOptions, resolve
from nbrw_runtime.dependency import DataState
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.trace import Event, Facts, Gap, Header, Kind, Trace

KERNEL, WORKER, CHILD = 100, 200, 300


class Host:
    """The author's host: a home with a project, below a directory of the test."""

    def __init__(self, root):
        self.home = root / "home/ada"
        self.cwd = self.home / "proj"
        self.cwd.mkdir(parents=True)
        self.events = [
            Event(Kind.PROCESS, 0.0, WORKER, 1, 1, detail={"parent": KERNEL}),
            Event(Kind.EXEC, 0.0, WORKER, 1, 1, "/proc/self/exe",
                  detail={"argv": ["python", "-m", "distributed.cli.dask_worker"]}),
            Event(Kind.PROCESS, 0.0, CHILD, 1, 1, detail={"parent": KERNEL}),
        ]  # fmt: skip
        self.gaps = ()

    def file(self, name, text="x"):
        """Make a file below the project; returns its path."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def saw(self, kind, path, cell=1, pid=KERNEL, **fields):
        """An event; successful reads get the facts of now."""
        if kind in (Kind.READ, Kind.LIST) and not fields.get("result"):
            s = os.stat(path)
            fields["facts"] = Facts(
                s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_mode, 0, 0
            )
        self.events.append(Event(kind, 0.0, pid, cell, cell, str(path), **fields))

    def resolved(self, **options):
        """What follows from all that was seen."""
        trace = Trace(Header("ptrace", KERNEL, str(self.cwd)), tuple(self.events), self.gaps)
        wanted = ResolveOptions(
            str(self.cwd), str(self.home), str(self.cwd / "nb.ipynb"),
            python(str(self.home / "env"), str(self.home / "base")),
            preserved_root=str(self.home / "preserved"), **options,
        )  # fmt: skip
        return resolve([trace], RealHost(), wanted)

    def data(self, **options):
        """Data by name below the project."""
        found = self.resolved(**options).dependencies.data
        return {os.path.relpath(item.path, self.cwd): item for item in found}


@pytest.fixture
def host(tmp_path):
    """The author's host."""
    return Host(tmp_path)


def test_a_file_that_was_read_is_an_input_with_its_cells_and_roles(host):
    """By kernel, worker and others apart."""
    path = host.file("in.csv", "abc")
    host.saw(Kind.READ, path, 1)
    host.saw(Kind.READ, path, 3, WORKER)
    host.saw(Kind.READ, path, 3, CHILD)
    found = host.data()["in.csv"]
    assert (found.state, found.cells) == (DataState.READ, (1, 3))
    assert found.roles == ("child", "kernel", "worker")
    assert (found.digest, found.size, found.changed) == (digest_bytes(b"abc"), 3, False)


def test_what_the_notebook_wrote_and_then_read_is_no_input(host):
    """First use decides."""
    path = host.file("out.csv")
    host.saw(Kind.WRITE, path, 1, flags=("create",))
    host.saw(Kind.READ, path, 2)
    assert host.data()["out.csv"].state is DataState.WRITTEN
    assert host.resolved().content == ()


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        (("read", "existed"), DataState.READ),
        (("append", "existed"), DataState.READ),
        (("truncate", "existed"), DataState.WRITTEN),
        (("create", "append"), DataState.WRITTEN),
    ],
)
def test_a_file_opened_for_both_is_an_input_if_its_content_was_needed(host, flags, state):
    """Truncating forgets what was there, appending does not."""
    path = host.file("base.db")
    host.saw(Kind.WRITE, path, 1, flags=flags)
    found = host.data()["base.db"]
    assert found.state is state


def test_content_that_was_overwritten_after_reading_is_packed_as_it_was(host):
    """The tracer kept it."""
    path = host.file("state.json", "new")
    (host.home / "preserved").mkdir()
    (host.home / "preserved/1-2-3").write_text("old")
    host.saw(Kind.READ, path, 1)
    host.saw(Kind.WRITE, path, 2, flags=("truncate", "existed"), detail={"preserved": "1-2-3"})
    found = host.data()["state.json"]
    assert (found.digest, found.changed) == (digest_bytes(b"old"), False)
    assert host.resolved().content[0].source.endswith("preserved/1-2-3")
    states = [item.state for item in host.resolved().dependencies.data]
    assert sorted(states) == [DataState.READ, DataState.WRITTEN]


def test_a_file_that_somebody_else_changed_is_marked(host):
    """Its checkpoint is of other content than the image has."""
    path = host.file("in.csv", "abc")
    host.saw(Kind.READ, path)
    os.utime(path, ns=(1, 1))
    (host.cwd / "in.csv").write_text("changed")
    assert host.data()["in.csv"].changed


def test_what_was_looked_for_in_vain_is_noted_but_not_pythons_own_probing(host):
    """A configuration that is not there says something; a module that is elsewhere does not."""
    for name in ("config.yaml", "module.py", "x.cpython-311.so"):
        host.saw(Kind.READ, host.cwd / name, 2, result=-2)
    assert {n: d.state for n, d in host.data().items()} == {"config.yaml": DataState.ABSENT}


def test_a_listed_directory_of_data_has_the_digest_of_its_names(host):
    """Names that the notebook itself made do not count."""
    host.file("parts/a.csv")
    before = None
    host.saw(Kind.LIST, host.cwd / "parts", 1)
    before = host.data()["parts"].entries
    made = host.file("parts/made.csv")
    host.saw(Kind.WRITE, made, 2, flags=("create",))
    assert host.data()["parts"].entries == before
    host.file("parts/b.csv")
    assert host.data()["parts"].entries != before


def test_listings_of_directories_that_python_imports_from_are_not_data(host):
    """Every worker makes them when it starts; they would count as its tasks' inputs."""
    for name in ("lib", "parts"):
        host.file(f"{name}/a.csv")
        host.saw(Kind.LIST, host.cwd / name, 1, WORKER)
    assert host.data(import_path=(str(host.cwd / "lib"),)).keys() == {"parts"}


def test_listings_of_directories_of_settings_are_not_data(host):
    """Dask's workers look for theirs when they start; what is in them is read by name."""
    path = host.home / ".config/dask"
    path.mkdir(parents=True)
    (path / "any.yaml").write_text("dataframe:\n  convert-string: false\n")
    host.saw(Kind.LIST, path, 1, WORKER)
    host.saw(Kind.READ, path / "any.yaml", 1, WORKER)
    found = {data.path: data.state for data in host.resolved().dependencies.data}
    assert found == {str(path / "any.yaml"): DataState.READ}


def test_private_files_are_left_out_with_the_reason_unless_forced(host):
    """The full path forces one."""
    path = host.file("server.pem")
    host.saw(Kind.READ, path, 2)
    (left,) = host.resolved().dependencies.left_out
    assert (left.path, left.cells) == (path, (2,))
    assert host.data(include_private=(path,))["server.pem"].state is DataState.READ


def test_caches_settings_and_kernel_file_systems_are_noise(host):
    """They are in no list."""
    for name in (".cache/x", ".local/share/jupyter/runtime/kernel-1.json"):
        path = host.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        host.saw(Kind.READ, path)
    host.saw(Kind.READ, "/proc/cpuinfo")
    host.saw(Kind.READ, "/etc/passwd")
    host.saw(Kind.READ, host.file("nb.ipynb"))
    found = host.resolved().dependencies
    assert (found.data, found.left_out) == ((), ())


def test_what_was_read_before_the_first_cell_is_not_data(host):
    """IPython's and Jupyter's settings are the author's, and named."""
    path = host.home / "settings.py"
    path.write_text("x")
    host.saw(Kind.READ, path, 0)
    found = host.resolved().dependencies
    assert found.data == ()
    assert [left.path for left in found.left_out] == [str(path)]


def test_network_peers_and_gaps_are_reported_loopback_is_not(host):
    """A peer by address and port, a gap as a note."""
    for address in ("127.0.0.1", "10.1.2.3"):
        detail = {"family": "inet", "address": address, "port": 443}
        host.events.append(Event(Kind.CONNECT, 0.0, KERNEL, 1, 1, detail=detail))
    host.gaps = (Gap("io_uring is used"),)
    found = host.resolved().dependencies
    assert found.network == ("10.1.2.3:443",)
    assert found.notes == ("the trace has a gap: io_uring is used",)


def test_a_temporary_file_is_no_result(host):
    """What is gone at the end was nobody's."""
    host.saw(Kind.WRITE, host.cwd / "tmp1", 1, flags=("create",))
    host.saw(Kind.REMOVE, host.cwd / "tmp1", 1)
    assert host.data() == {}


def test_a_renamed_file_has_its_last_name(host):
    """Write beside, then rename: the usual way to write a file whole."""
    path = host.file("out.csv")
    host.saw(Kind.WRITE, path + ".tmp", 1, flags=("create",))
    host.saw(Kind.RENAME, path + ".tmp", 1, target=path)
    assert {n: d.state for n, d in host.data().items()} == {"out.csv": DataState.WRITTEN}


def test_a_distribution_is_there_for_the_sake_of_those_that_require_it_in_any_spelling(host):
    """Requirements are normalised, names are not: `pure_eval` is required as `pure-eval`."""
    site = host.home / "env/lib/python3.11/site-packages"
    for name, requires in (("pure_eval", ""), ("stack_data", "Requires-Dist: Pure.Eval\n")):
        info = site / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1\n{requires}\n")
        (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.dist-info/METADATA,,\n")
        (site / f"{name}.py").touch()
    host.saw(Kind.READ, site / "stack_data.py", 1)
    software = {found.name: found for found in host.resolved().dependencies.software}
    assert software["stack_data"].touched == 1
    assert software["pure_eval"].requires == ("stack_data",)
