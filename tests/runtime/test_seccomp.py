"""The seccomp filter, run by a small interpreter of BPF."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.seccomp import program

X86_64, OTHER = 0xC000003E, 0x40000003
TRACE, ALLOW = 0x7FF00000, 0x7FFF0000


def run(code, number, architecture):
    """What the filter returns for a call."""
    steps = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    position, value = 0, 0
    while True:
        kind, yes, no, operand = steps[position]
        position += 1
        if kind == 0x20:
            value = {0: number, 4: architecture}[operand]
        elif kind == 0x15:
            position += yes if value == operand else no
        elif kind == 0x35:
            position += yes if value >= operand else no
        elif kind == 0x06:
            return operand
        else:
            raise AssertionError(f"instruction {kind:#x}")


@given(st.sets(st.integers(0, 500), min_size=1, max_size=60), st.integers(0, 600))
def test_the_calls_asked_for_stop_and_no_others(wanted, number):
    """For any set of calls."""
    expected = TRACE if number in wanted else ALLOW
    assert run(program(wanted, X86_64), number, X86_64) == expected


@pytest.mark.parametrize("number", [0, 1, 2])
def test_calls_of_another_architecture_go_through(number):
    """Their numbers mean something else."""
    assert run(program({0, 1, 2}, X86_64), number, OTHER) == ALLOW


def test_calls_of_x32_go_through():
    """They have a bit set and are none of ours."""
    assert run(program({2}, X86_64), 2 | 0x40000000, X86_64) == ALLOW


def test_more_calls_than_a_jump_can_skip_are_refused():
    """A jump's offset is one byte."""
    with pytest.raises(ValueError, match="more calls"):
        program(range(300), X86_64)
