"""Cells that turn out to use what nobody foresaw: all is begun again, and outputs are right."""

from __future__ import annotations

import pytest

from repeat_harness import Repeat, audit, plain_run

CALC = "k = 7\ndef calc(t):\n    return eval(t)"
UNFORESEEN = {
    "a name in a text": ([CALC, "z = 1"], [CALC, "print(calc('k'))"]),
    "a global by its key": (
        ["k = 7\ndef look(t):\n    return vars(__import__('__main__'))[t]", "z = 1"],
        ["k = 7\ndef look(t):\n    return vars(__import__('__main__'))[t]", "print(look('k'))"],
    ),
    "a class that a pickle names": (
        ["import pickle", "class A:\n    pass", "pickle.dump(A(), open('a.pkl', 'wb'))", "z = 1"],
        ["import pickle", "class A:\n    pass", "pickle.dump(A(), open('a.pkl', 'wb'))",
         "print(type(pickle.load(open('a.pkl', 'rb'))).__name__)"],
    ),
    "an import from the notebook": (
        ["import timeit", "def f():\n    print(5)", "z = 1"],
        ["import timeit", "def f():\n    print(5)",
         "_ = timeit.timeit('f()', 'from __ma' 'in__ import f', number=1)"],
    ),
    "an attribute of the notebook": (
        ["import sys\nk = 7", "z = 1"],
        ["import sys\nk = 7", "print(getattr(sys.modules['__ma' 'in__'], 'k'))"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFORESEEN)
def test_what_is_looked_up_by_its_name_is_there(name, tmp_path):
    """Also where cells may fail: that the name was not there is no error of the notebook."""
    before, after = UNFORESEEN[name]
    recipe, store = audit(tmp_path / "audit", before)
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    assert repeat.outputs == plain_run(tmp_path / "plain", after), repeat.report
    assert repeat.actions == "r" * (len(after) - 1) + "X"


@pytest.mark.parametrize("error", ["nothing", "{}['x']", "__import__('math').nothing"])
def test_an_error_of_the_notebook_is_no_reason_to_begin_again(error, tmp_path):
    """It is the cell's output."""
    recipe, store = audit(tmp_path / "audit", ["n = 1", "z = 2"])
    repeat = Repeat(tmp_path / "repeat", recipe, store, ["n = 1", error])
    assert repeat.outputs == plain_run(tmp_path / "plain", ["n = 1", error])
    assert repeat.notes == []
