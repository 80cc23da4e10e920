"""Effects that neither names nor files show."""

from __future__ import annotations

import pytest

from nbrw_runtime.effects import hidden_effect, imported_modules

TYPES = {"np": "module", "json": "module", "DataFrame": "type", "plt": "module", "obj": "Thing"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("json.dumps = print", "it changes json.dumps"),
        ("json.a, x = 1, 2", "it changes json.a"),
        ("json.cache['k'] = 1", "it changes json.cache"),
        ("del json.loads", "it changes json.loads"),
        ("json.n += 1", "it changes json.n"),
        ("setattr(DataFrame, 'mine', f)", "it changes DataFrame"),
        ("DataFrame.mine = f", "it changes DataFrame.mine"),
        ("%load_ext autoreload", "%load_ext is not restored"),
        ("%matplotlib widget", "%matplotlib is not restored"),
    ],
)
def test_a_change_of_a_module_or_by_a_magic_is_told(source, told):
    """With the place, as a phrase for the report."""
    assert hidden_effect(source, TYPES, frozenset()) == told


@pytest.mark.parametrize(
    "source",
    [
        "obj.x = 1", "x = json.dumps(1)", "plt.rcParams['a.b'] = 2", "%matplotlib inline",
        "%time x = 1", "t = %timeit -o f()", "a[0] = 1", "f().x = 1", "def (", "np.random.seed(1)",
    ],
)  # fmt: skip
def test_what_is_stored_or_changes_nothing_is_no_hidden_effect(source):
    """Objects of the notebook, settings that are restored, measuring."""
    assert hidden_effect(source, TYPES, frozenset()) == ""


def test_a_class_of_the_notebook_is_state_like_any_other():
    """Its content changed, so a checkpoint has it."""
    assert hidden_effect("DataFrame.mine = 1", TYPES, frozenset({"DataFrame"})) == ""


def test_imports_outside_of_functions_are_found():
    """Also below `if` and `try`; relative ones, and those that never run by themselves, are not."""
    source = (
        "import a.b, c\nfrom d.e import f\ntry:\n    import g\nexcept ImportError:\n    pass\n"
        "def h():\n    import i\nfrom . import j\nimport c"
    )
    assert imported_modules(source) == ["a.b", "c", "d.e", "g"]
    assert imported_modules("%%bash\nimport x") == []
