"""What a cell used, from accesses in order: first use decides."""

import pytest

from nbrw_runtime.accesses import Access, Stamp, Use, is_local, used

FILE = Stamp(1, 2, 3, 4, 5, 0o100644)
OTHER = Stamp(1, 2, 9, 9, 9, 0o100644)
DIRECTORY = Stamp(1, 3, 3, 4, 5, 0o040755)


def of(*accesses):
    """Taken together; an access is (use, path, stamp)."""
    return used(Access(use, path, stamp, 1) for use, path, stamp in accesses)


@pytest.mark.parametrize(
    ("accesses", "read", "written", "removed"),
    [
        ([(Use.READ, "/a", FILE)], {"/a": FILE}, set(), set()),
        ([(Use.READ, "/a", None)], {"/a": None}, set(), set()),
        ([(Use.WRITE, "/a", None)], {}, {"/a"}, set()),
        ([(Use.WRITE, "/a", None), (Use.READ, "/a", FILE)], {}, {"/a"}, set()),
        ([(Use.READ, "/a", None), (Use.WRITE, "/a", None)], {"/a": None}, {"/a"}, set()),
        ([(Use.UPDATE, "/a", FILE), (Use.READ, "/a", OTHER)], {"/a": FILE}, {"/a"}, set()),
        ([(Use.READ, "/a", FILE), (Use.READ, "/a", OTHER)], {"/a": FILE}, set(), set()),
        ([(Use.WRITE, "/t", FILE), (Use.REMOVE, "/t", FILE)], {}, set(), {"/t"}),
        ([(Use.REMOVE, "/a", FILE), (Use.WRITE, "/a", None)], {}, {"/a"}, set()),
        ([(Use.REMOVE, "/a", FILE), (Use.READ, "/a", None)], {}, set(), {"/a"}),
        ([(Use.LIST, "/a", None)], {"/a": None}, set(), set()),
        ([(Use.EXECUTE, "/a", None)], {"/a": None}, set(), set()),
    ],
)
def test_what_a_cell_depends_on_and_changes(accesses, read, written, removed):
    """What it wrote or removed itself is no input from then on."""
    found = of(*accesses)
    assert (found.read, found.written, found.removed) == (read, written, removed)


def test_what_a_cell_made_and_removed_itself_is_temporary():
    """Not so if something had been there, or is there in the end."""
    made, removed = (Use.WRITE, "/t", None), (Use.REMOVE, "/t", FILE)
    for accesses in ([made, removed], [made, removed, made, removed]):
        found = of(*accesses)
        assert (found.written, found.removed, found.temporary) == (set(), set(), {"/t"})
    again = of(made, removed, made)
    assert (again.written, again.temporary) == ({"/t"}, set())
    replaced = of((Use.REMOVE, "/t", FILE), made, removed)
    assert (replaced.removed, replaced.temporary) == ({"/t"}, set())


def test_the_rest_is_kept_apart_and_once():
    """Directories, programs, addresses, and what could not be seen."""
    found = of(
        (Use.LIST, "/d", DIRECTORY), (Use.EXECUTE, "/bin/x", FILE),
        (Use.CONNECT, "127.0.0.1:80", None), (Use.CONNECT, "10.0.0.1:80", None),
        (Use.CONNECT, "10.0.0.1:80", None), (Use.UNSEEN, "a reason", None),
        (Use.UNSEEN, "a reason", None),
    )  # fmt: skip
    assert found.listed == {"/d": DIRECTORY} and found.executed == {"/bin/x": FILE}
    assert found.connected == ["127.0.0.1:80", "10.0.0.1:80"]
    assert found.remote == ["10.0.0.1:80"]
    assert found.unseen == ["a reason"]
    assert not found.read and DIRECTORY.is_directory and not FILE.is_directory


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:/run/x", True), ("unix:@abstract", True), ("127.0.0.53:53", True),
        ("[::1]:9", True), ("[::ffff:127.0.0.1]:9", True), ("0.0.0.0:8786", True),
        ("192.0.2.1:80", False), ("[2001:db8::1]:80", False), ("1127.0.0.1:80", False),
    ],
)  # fmt: skip
def test_addresses_of_this_machine(address, local):
    """Dask and Jupyter connect to it all the time."""
    assert is_local(address) is local
