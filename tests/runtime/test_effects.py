"""Effects that neither names nor files show."""

from __future__ import annotations

import pytest

from nbrw_runtime.effects import effects_of, hidden_effect, imported_modules

TYPES = {
    "frame": "pandas.DataFrame",
    "m": "module",
    "DataFrame": "type",
    "obj": "Thing",
    "mine": "function",
}
IMPORTED = {
    "np": "numpy", "json": "json", "plt": "matplotlib.pyplot", "DataFrame": "pandas.DataFrame",
    "sklearn": "sklearn", "os": "os", "logging": "logging", "lib": "lib", "decimal": "decimal",
    "random": "random", "gc": "gc", "tqdm": "tqdm.auto.tqdm", "xr": "xarray", "sys": "sys",
}  # fmt: skip


def effect(source, changed=(), called=()):
    """What is told of a cell."""
    return hidden_effect(source, TYPES, frozenset(changed), IMPORTED, called)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("json.dumps = print", "it changes json.dumps"),
        ("json.a, x = 1, 2", "it changes json.a"),
        ("json.cache['k'] = 1", "it changes json.cache"),
        ("json.cache['k'].n = 1", "it changes json.cache.n"),
        ("del json.loads", "it changes json.loads"),
        ("json.n += 1", "it changes json.n"),
        ("m.n = 1", "it changes m.n"),
        ("setattr(DataFrame, 'mine', f)", "it changes DataFrame.mine"),
        ("DataFrame.mine = f", "it changes DataFrame.mine"),
        ("random.random = f", "it changes random.random"),
        ("decimal.DefaultContext.prec = 3", "it changes decimal.DefaultContext.prec"),
        ("%load_ext autoreload", "%load_ext is not restored"),
        ("%matplotlib widget", "%matplotlib is not restored"),
        ("%matplotlib inline\njson.extra = 1", "it changes json.extra"),
        ("!true\nif x:\n    !ls\n    json.extra = 1", "it changes json.extra"),
        ("files = !ls \\\n  -l\njson.extra = 1", "it changes json.extra"),
        ("%time json.extra = 1", "it changes json.extra"),
        ("%%timeit -n 1\njson.extra = 1", "it changes json.extra"),
        ("    json.extra = 1\n    x?", "it changes json.extra"),
        ("d = json\nd.x = 1", "it changes d.x"),
        ("for d in (json, os):\n    d.x = 1", "it changes d.x"),
        ("D = np.ma.MaskedArray\nD.x = 1", "it changes D.x"),
        ("frame.__class__.x = 1", "it changes frame.__class__.x"),
        ("get_ipython().node = 'all'", "it changes the shell (get_ipython().node)"),
        ("ip = get_ipython()\nip.node = 'all'", "it changes the shell (ip.node)"),
        ("get_ipython().run_line_magic('load_ext', 'x')", "%load_ext is not restored"),
        (
            "os.makedirs('/tmp/a/b')",
            "it makes the directory /tmp/a/b, outside the working directory",
        ),
        ("Path(f'../{a}').mkdir()", "it makes the directory ../, outside the working directory"),
        ("/lib.start 1", "what it does cannot be told from its code"),
    ],
)
def test_a_change_of_a_module_or_by_a_magic_is_told(source, told):
    """With the place, as a phrase for the report."""
    assert effect(source) == told


@pytest.mark.parametrize(
    ("source", "called"),
    [
        ("sklearn.set_other(1)\nx = 1", "sklearn.set_other"),
        ("old = sklearn.set_other()", "sklearn.set_other"),
        ("tqdm.pandas()", "tqdm.pandas"),
        ("from sklearn import set_other as s\ns()", "s"),
        ("import sklearn as k\nk.set_other()", "k.set_other"),
        ("lib.start(5)", "lib.start"),
        ("if x:\n    lib.start(5)", "lib.start"),
        ("gc.callbacks.append(f)", "gc.callbacks.append"),
        ("lib.registry.update(a=1)", "lib.registry.update"),
        ("sys.settrace(f)", "sys.settrace"),
        ("import calendar\ncalendar.setfirstweekday(6)", "calendar.setfirstweekday"),
        ("from collections.abc import Sequence\nSequence.register(L)", "Sequence.register"),
        ("import tempfile\na = tempfile.mkdtemp()", "tempfile.mkdtemp"),
        ("np.seterrcall(f)", "np.seterrcall"),
        ("import seaborn as sns\nsns.set_theme()", "sns.set_theme"),
        ("np.setbufsize(1)", "np.setbufsize"),
        ("np.ctypeslib.start(1)", "np.ctypeslib.start"),
        ("logging.setLoggerClass(A)", "logging.setLoggerClass"),
        ("@xr.register_dataset_accessor('geo')\nclass A: pass", "xr.register_dataset_accessor"),
        ("import atexit\n@atexit.register\ndef f(): pass", "atexit.register"),
        ("class A:\n    lib.start()", "lib.start"),
    ],
)
def test_a_call_that_is_made_for_its_effect_is_told(source, called):
    """Into libraries, by its name or because nobody takes its result."""
    assert effect(source) == f"it calls {called}, whose effect is not restored"


@pytest.mark.parametrize(
    "source",
    [
        "obj.x = 1", "x = json.dumps(1)", "plt.rcParams['a.b'] = 2", "%matplotlib inline",
        "%time x = 1", "t = %timeit -o f()", "%timeit -n 5 lib.fit(x)",
        "!ls\nx = (1\n% 2)", "x??", "obj.__class__.x = 1", "os.makedirs(a)",
        "get_ipython().run_line_magic('matplotlib', 'inline')", "from threading import Event",
        "Path('a').mkdir()", "import seaborn as sns\nsns.set_style('dark')", "a[0] = 1",
        "f().x = 1", "def (", "np.random.seed(1)",
        "os.environ['A'] = 'b'", "os.makedirs('a')", "decimal.getcontext().prec = 3", "mine(1)",
        "sys.path.append('a')", "logging.basicConfig(level=10)",
        "logging.getLogger('a').setLevel(1)", "logging.getLogger('a').level = 3",
        "sys.setrecursionlimit(10)", "sklearn.set_config(display='text')", "plt.plot(x)",
        "logging.info('a')", "log = logging.getLogger('a')",
        "logging.getLogger('a').info('b')", "lib.save(x, 'a')", "x = lib.fit(y)", "obj.set_x(1)",
        "with sklearn.config_context():\n    x = 1", "with xr.set_options(a=1):\n    x = 1",
        "json.dump(x, f)", "def f():\n    lib.start()",
        "class A:\n    def f(self):\n        lib.x = 1",
        "x = [lib.f(y) for y in z]", "random.shuffle(x)", "gc.collect()",
        "np.copyto(a, b)", "np.add.at(a, i, 1)", "np.fill_diagonal(a, 0)", "np.seterr(all='raise')",
    ],
)  # fmt: skip
def test_what_is_stored_or_changes_nothing_is_no_hidden_effect(source):
    """Objects of the notebook, settings that are restored, measuring, drawing, writing files."""
    assert effect(source) == ""


def test_a_result_that_the_notebook_shows_is_not_discarded():
    """The last expression of a cell, if it had a value."""
    assert effect("lib.mean(x)", changed={"_5"}) == ""
    assert effect("lib.mean(x)") != ""
    assert effect("lib.start()\nlib.mean(x)", changed={"_5"}) != ""


def test_what_a_function_does_counts_where_it_may_be_called():
    """Its effects are those of its body, of its methods if it is a class."""
    source = "def f():\n    lib.start()\nclass A:\n    def g(self):\n        json.dumps = 1"
    found = effects_of(source).functions
    assert effect("f()", called=found["f"]) == "it calls lib.start, whose effect is not restored"
    assert effect("A().g()", called=found["A"]) == "it changes json.dumps"


def test_a_class_of_the_notebook_is_state_like_any_other():
    """Its content changed, so a checkpoint has it."""
    source = "class Mine: pass\nMine.x = 1"
    assert hidden_effect(source, {"Mine": "type"}, frozenset({"Mine"})) == ""


def test_imports_outside_of_functions_are_found():
    """Also below `if` and `try`; relative ones, and those that never run by themselves, are not."""
    source = (
        "import a.b, c\nfrom d.e import f\ntry:\n    import g\nexcept ImportError:\n    pass\n"
        "def h():\n    import i\nfrom . import j\nimport c"
    )
    assert imported_modules(source) == ["a.b", "c", "d.e", "d.e:f", "g"]
    assert imported_modules("%%bash\nimport x") == []
    assert imported_modules("!true\nimport x") == ["x"]


def test_a_function_that_assigns_below_its_argument_changes_what_it_is_given():
    """By position or by name, also as a decorator; of the notebook's own objects it is state."""
    source = "def add(a, cls):\n    def f(g):\n        setattr(cls, g.__name__, g)\n    return f"
    called = effects_of(source).functions["add"]
    told = "`add` changes DataFrame"
    assert effect("@add(1, DataFrame)\ndef f(): pass", called=called) == told
    assert effect("add(1, cls=DataFrame)", called=called) == told
    assert effect("add(DataFrame, obj)", called=called) == ""
