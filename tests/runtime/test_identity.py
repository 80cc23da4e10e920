"""Equal content has one identity, in whatever process; other content has another.

An identity that differs without need makes cells run again; one that is equal without right would
be a wrong result.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from identity_process import Builder, dump_of, identity, namespace
from nbrw_runtime.codec import Dump, SaveContext, dump
from nbrw_runtime.store import MemoryStore
from state_graph import describe, text

PROGRAM = Path(__file__).parents[1] / "identity_process.py"
TEXTS = st.sampled_from(["a", "inside", "x", "long text", ""])
HASHABLE = st.recursive(
    st.tuples(st.just("text"), TEXTS)
    | st.tuples(st.just("bytes"), TEXTS)
    | st.tuples(st.just("number"), st.sampled_from([0, 1, 9, 2.5, None])),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: ("tuple", *parts))
        | st.lists(inner, max_size=3).map(lambda parts: ("frozenset", *parts))
    ),
    max_leaves=4,
)
DESCRIBED = st.recursive(
    HASHABLE | st.lists(HASHABLE, max_size=4).map(lambda parts: ("set", *parts)),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: ("list", *parts))
        | st.lists(inner, max_size=2).map(lambda parts: ("cycle", *parts))
        | st.lists(st.tuples(TEXTS, inner), max_size=3).map(lambda parts: ("dict", *parts))
        | st.tuples(st.just("twice"), inner)
        | st.tuples(st.just("thing"), inner)
        | st.tuples(st.just("function"), inner)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def other():
    """A process with another hash seed that says identities."""
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def ask(described, **how):
        process.stdin.write(json.dumps({"described": described, **how}) + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    yield ask
    process.stdin.close()
    process.wait()


@settings(max_examples=150, deadline=None)
@given(DESCRIBED)
@example(("set", ("text", "a"), ("text", "inside"), ("text", "x"), ("text", "long text")))
@example(("list", ("text", "inside"), ("thing", ("text", "inside"))))
def test_equal_content_has_one_identity_in_every_process(other, described):
    """Whether texts are one object or several, in what order sets were filled, after a restore."""
    mine = identity(described)
    assert identity(described, fresh=True) == mine
    assert identity(described, again=True) == mine
    assert other(described) == mine
    assert other(described, fresh=True, again=True) == mine


@settings(max_examples=300, deadline=None)
@given(DESCRIBED, DESCRIBED)
@example(("list", ("list",), ("list",)), ("twice", ("list",)))
@example(("set", ("number", 1)), ("set", ("number", True)))
@example(("tuple", ("number", 1)), ("tuple", ("number", 1.0)))
@example(("text", "a"), ("bytes", "a"))
@example(("set", ("text", "a")), ("list", ("text", "set"), ("list", ("text", "a"))))
@example(("frozenset", ("text", "a")), ("set", ("text", "a")))
def test_other_content_has_another_identity(first, second):
    """Told by an independent comparison: the graph of all that an object reaches."""
    graphs = []
    for described in (first, second):
        space = namespace()
        space["x"] = Builder(space, False).make(described)
        graphs.append(text(describe(["x"], space)))
    assume(graphs[0] != graphs[1])
    assert identity(first) != identity(second)


VARIANTS = [
    "def f(x):\n    return x + 1",
    "def f(x):\n    return x + 2",
    "def f(x, y=1):\n    return x + 1",
    "def g(x):\n    return x + 1\nf = g", "f = lambda x: x + 1",
    "def f(x):\n    'Doc.'\n    return x + 1",
    "def f(x: int):\n    return x + 1",
    "def f(x):\n    return x + y",
    "def f(x):\n    return [x for x in {1, 2}]",
    "def f(x):\n    return x in {'a', 'b'}",
    "def f(x):\n    return x in {'a', 'c'}",
    "def f(x):\n    return x\nf.mark = 1", "class f:\n    pass", "class f:\n    x = 1",
    "class f:\n    x = True", "class f:\n    def g(self):\n        return 1",
    "class f:\n    def g(self):\n        return 2", "class f:\n    __slots__ = ('x',)",
    "class f(list):\n    pass", "import enum\nclass f(enum.Enum):\n    A = 1",
    "import enum\nclass f(enum.Enum):\n    A = 2", "import enum\nclass f(enum.IntEnum):\n    A = 1",
    "import functools\n@functools.cache\ndef f(x):\n    return x",
    "import functools\n@functools.cache\ndef f(x):\n    return x\nf(1)",
    "import functools\nf = functools.partial(int, base=2)",
    "import functools\nf = functools.partial(int, base=3)",
    "import typing\nf = typing.NewType('f', int)", "import typing\nf = typing.TypeVar('f')",
    "import weakref\nk = {1}\nf = [weakref.ref(k), k]", "k = {1}\nf = [k, k]", "f = [{1}, {1}]",
    "import threading\nf = threading.Lock()", "import threading\nf = threading.RLock()",
    "f = 1j", "f = -0.0", "f = 0.0", "f = 0", "f = False", "f = float('nan')", "f = ''", "f = b''",
    "f = bytearray()", "f = {}.keys()", "f = {}.values()",
    "import types\nf = types.MappingProxyType({})", "f = memoryview(b'a')", "f = b'a'",
    "import numpy as np\nf = np.arange(4)", "import numpy as np\nf = np.arange(4.)",
    "import numpy as np\nf = np.arange(4).reshape(2, 2)",
    "import numpy as np\nf = np.asfortranarray(np.arange(4).reshape(2, 2).T)",
    "import numpy as np\nf = np.arange(4)\nf.flags.writeable = False",
    "import numpy as np\nf = np.ma.array(np.arange(4))",
    "import numpy as np\nf = np.ma.array(np.arange(4), mask=[0, 0, 0, 1])",
    "import numpy as np\na = np.arange(4)\nf = [a, a[:]]",
    "import numpy as np\nf = [np.arange(4), np.arange(4)]",
    "import pandas as pd\nf = pd.Series([1, 2])",
    "import pandas as pd\nf = pd.Series([1, 2.])",
    "import pandas as pd\nf = pd.Series([1, 2], name='n')",
    "import pandas as pd\nf = pd.Series([1, 2], index=[0, 2])",
    "import pandas as pd\nf = pd.Index([1])",
    "import pandas as pd\nf = pd.DataFrame({'a': [1, 2]})\nf.attrs['x'] = 1",
    "import pandas as pd\nf = pd.DataFrame({'a': [1, 2]})",
    "import pandas as pd\nl = [1]\nf = pd.Series([l, l])",
    "import pandas as pd\nf = pd.Series([[1], [1]])",
]  # fmt: skip


def test_no_two_of_many_kinds_have_one_identity():
    """Each differs from all others in something that a cell could see."""
    found = {}
    for source in VARIANTS:
        space = {"__name__": "__main__"}
        exec(source, space)
        value = dump({"f": space["f"]}, SaveContext(space, MemoryStore()), _views(space))
        assert isinstance(value, Dump), (source, value)
        other = found.setdefault(str(value.identity()), source)
        assert other is source, (other, source)


def _views(space):
    return frozenset({id(space["a"])} if "a" in space else ())


def identity_of(source, name):
    """Of a name after a cell."""
    space = {"__name__": "__main__"}
    exec(compile(source, f"/tmp/ipykernel_{len(source)}/1.py", "exec"), space)
    return dump_of({name: space[name]}, space).identity()


@pytest.mark.parametrize(
    "definition",
    [
        "def f(x):\n    def inner():\n        return x\n    return inner",
        "class f:\n    def g(self):\n        return super().__repr__()",
        "import dataclasses\n@dataclasses.dataclass\nclass f:\n    x: int = 3",
        "import enum\nclass f(enum.Enum):\n    A = 1",
    ],
)
def test_where_a_definition_stands_is_no_part_of_it(definition):
    """A cell may get a line more, or be merged with another."""
    assert identity_of(definition, "f") == identity_of("y = 1\n\n\n" + definition, "f")


def test_a_literal_beside_a_restored_text_is_what_it_was():
    """In the audit they were one object, in a repeat they are two."""
    space = {"key": "name", "d": {}}
    exec("d['name'] = key\nd[key + '_'] = 'name'", space)
    audit = dump_of({"d": space["d"]}, space).identity()
    space = {"key": "".join(["na", "me"]), "d": {}}
    exec("d['name'] = key\nd[key + '_'] = 'name'", space)
    assert dump_of({"d": space["d"]}, space).identity() == audit


def test_what_changed_after_it_was_pickled_does_not_lend_its_identity():
    """A thread of the notebook may work on it: the bytes that are stored are the older ones."""
    value = ["old"]
    found = dump_of({"x": value}, {})
    value.append("new")
    assert found.identity() != dump_of({"x": value}, {}).identity()
