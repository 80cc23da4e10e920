"""Which names a cell may use."""

from __future__ import annotations

import pytest

from nbrw_runtime.codec_functions import global_names
from nbrw_runtime.names import FILE_QUESTIONS, LISTING_WORDS, is_dynamic, names_of


def test_reads_writes_and_nested_uses_are_all_found():
    """Functions, comprehensions, imports and globals count."""
    names = names_of("import a.b as c\ndef f(x):\n    global g\n    return h(x)\n[k for k in m]")
    assert {"c", "f", "g", "h", "m"} <= names.used
    assert not names.dynamic


@pytest.mark.parametrize(
    "source",
    [
        "exec('x')",
        "from os import *",
        "%%bash\nx",
        "%run a.py",
        "globals()",
        "import __main__",
        "!true\nfrom os import *",
        "%time r = f.query(q)",
    ],
)
def test_source_that_may_use_any_name_says_so(source):
    """The plan then takes every name for used."""
    assert names_of(source).dynamic


def test_magics_use_every_identifier_in_their_text():
    """A shell line may interpolate a variable."""
    names = names_of("!ls $folder\n%time run(x)")
    assert {"folder", "run", "x"} <= names.used


def test_magics_that_run_the_cell_as_it_is_are_looked_through():
    """They are in half of all notebooks; what they bind is a name like others."""
    for source in ("%%time\nx = f(y)", "%%capture\nx = f(y)", "%%capture out\nx = f(y)"):
        names = names_of(source)
        assert not names.dynamic and names.used >= {"f", "x", "y"}
        assert ("out" in names.bound) == ("out" in source)
    assert names_of("%%timeit\nx = f(y)").dynamic  # it binds nothing
    assert names_of("%%time f(y)\nx = 1").dynamic


def test_names_that_are_only_bound_are_told_apart():
    """What they held before does not matter; of augmented assignments it does."""
    names = names_of(
        "import a\nx = y\nn += 1\nfor i in z:\n    pass\ndef f():\n    global g\n    g = 1"
    )
    assert names.bound == {"a", "x", "i", "f"}


@pytest.mark.parametrize("source", ["q = _", "print(Out[3])", "_5 + 1", "In[-1]"])
def test_who_looks_at_results_by_number_says_so(source):
    """A loop's throw-away variable is no result."""
    assert names_of(source).history
    assert not names_of("for _ in range(3):\n    pass\na, _ = b").history


def test_words_of_a_text_that_a_library_evaluates_are_names():
    """pandas looks them up in the caller; a text from elsewhere may have any name in it."""
    assert "limit" in names_of("df.query('a > @limit')").used
    assert names_of("df.query(text)").dynamic
    assert "limit" not in names_of("print('limit')").used


@pytest.mark.parametrize("word", ["exists", "seed"])
def test_questions_that_no_trace_shows_are_told(word):
    """Whether a file is there; the state of a generator."""
    assert word in names_of(f"import m\nm.{word}(1)").used


@pytest.mark.parametrize(
    "source", ["if __name__ == '__main__':\n    main()", "log(__name__)", "logit(x)", "x = a * b"]
)
def test_what_only_looks_like_it_uses_no_other_name(source):
    """As scripts end, and as loggers are named."""
    assert not names_of(source).dynamic


def test_names_in_formulas_and_in_annotations_are_found():
    """Libraries look them up where they are called."""
    assert "f" in names_of("ols('y ~ f(x)', data)").used
    assert "f" in names_of("dmatrix('f(x)', data)").used
    assert "Other" in names_of("class A:\n    x: 'Other'").used


@pytest.mark.parametrize(
    "source",
    ["match p:\n case [_, x]:\n  1", "match p:\n case [1, *x]:\n  1",
     "match p:\n case {1: 2, **x}:\n  1", "try:\n 1\nexcept E as x:\n 1"],
)  # fmt: skip
def test_patterns_and_handlers_bind_names(source):
    """A name in a tree is no node of its own there."""
    assert "x" in names_of(source).bound


@pytest.mark.parametrize(
    ("body", "dynamic"),
    [
        ("globals()['k']", True), ("eval(a)", True), ("a.query(b)", True), ("a.eval()", False),
        ("a.query('v > @t')", False), ("re.compile(a)", False), ("vars(a), dir(a)", False),
        ("locals()", False), ("a.evaluate(a, b)", False), ("ne.evaluate(a)", True),
        ("sys._getframe(1)", True), ("inspect.signature(a)", False), ("ols(a, data=b)", True),
        ("ols('y ~ x', data=b)", False), ("sys.modules[__name__]", True), ("logit(a)", False),
        ("import_module('__main__')", True), ("[eval(n) for n in a]", True), ("a.query", False),
    ],
)  # fmt: skip
def test_functions_that_may_use_any_name_say_so(body, dynamic):
    """Methods and attributes of the same name are something else."""
    space: dict = {}
    exec(f"def f(a, b):\n    return {body}", space)
    refers = {"f": global_names(space["f"].__code__)}
    assert is_dynamic(names_of("f(1, 2)"), refers) == dynamic


@pytest.mark.parametrize("source", ["!ls *.txt", "x = !cat a", "%ls", "subprocess.run(['ls'])"])
def test_programs_may_list_and_look_for_files(source):
    """No trace shows what for."""
    assert not names_of(source).used.isdisjoint(LISTING_WORDS & FILE_QUESTIONS | {"glob"})
    assert not names_of(source).used.isdisjoint(FILE_QUESTIONS)
