"""The numbers of system calls, against tables that others keep."""

import pytest
from ptrace.syscall.linux import aarch64, x86_64

from nbrw_runtime.watched_calls import watched_calls


@pytest.mark.parametrize(
    ("machine", "table"),
    [("x86_64", x86_64.SYSCALL_NAMES), ("aarch64", aarch64.SYSCALL_NAMES)],
)
def test_numbers_are_those_of_the_machine(machine, table):
    """Every call the machine has is watched, under its own number."""
    known = {name: number for number, name in table.items() if number < 512}
    found = watched_calls(machine)
    assert {name: known.get(name) for name in found.values()} == {
        name: number for number, name in found.items()
    }
    of_both = set(watched_calls("x86_64").values())
    assert {name for name in of_both if name in known} == set(found.values())


def test_another_machine_is_refused_by_name():
    """Its calls would be taken for others."""
    with pytest.raises(OSError, match="riscv64"):
        watched_calls("riscv64")
