"""Which names a cell left changed, and bringing them back in another process' namespace."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkpoint_helper import latest
from nbrw_runtime import state
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.codec import LoadContext, SaveContext
from nbrw_runtime.digest import digest_bytes
from nbrw_runtime.restore import bring
from nbrw_runtime.state import StateTracker
from nbrw_runtime.store import MemoryStore

CODE = digest_bytes(b"code")


class Notebook:
    """A namespace, and the checkpoints of the cells that ran in it."""

    def __init__(self, **settings):
        self.namespace = {"__name__": "__main__", "In": [], "_i1": "x"}
        self.store = MemoryStore()
        context = SaveContext(self.namespace, self.store)
        self.tracker = StateTracker(self.namespace, frozenset({"In"}), context, **settings)
        self.tracker.baseline()
        self.checkpoints = []

    def cell(self, source):
        """Run a cell; returns its changes."""
        exec(source, self.namespace)
        changes = self.tracker.changes(source)
        self.checkpoints.append(
            Checkpoint(
                len(self.checkpoints) + 1, CODE, objects=changes.objects,
                deleted=changes.deleted, omitted=changes.omitted,
            )
        )  # fmt: skip
        return changes

    def restored(self, until=None):
        """The namespace that a new process gets from the checkpoints."""
        namespace = {"__name__": "__main__"}
        assert not self.bring_all(namespace, until).failed
        return namespace

    def bring_all(self, namespace, until=None):
        """Bring what is left of the checkpoints into a namespace."""
        left = latest(self.checkpoints[:until])
        wanted = [(self.checkpoints[number - 1], names) for number, names in left.items()]
        return bring(wanted, namespace, LoadContext(namespace, self.store), {})


@pytest.fixture(params=["sweeps", "no sweeps"])
def notebook(request, monkeypatch):
    """An empty notebook; its state is so small that it is swept after each cell, or it is not.

    Without sweeps groups count as large, so that one that is what it was is dumped as a whole, or
    of plain data not at all.
    """
    if request.param == "no sweeps":
        monkeypatch.setattr(state, "_LARGE", 0)
        monkeypatch.setattr(state, "_PLAIN", 0)
    return Notebook() if request.param == "sweeps" else Notebook(sweep_share=0)


@pytest.fixture
def unswept():
    """An empty notebook in which no sweep is cheap enough."""
    return Notebook(sweep_share=0)


def names(changes):
    """The groups of names that were stored."""
    return sorted(stored.names for stored in changes.objects)


def test_a_group_that_is_what_it_was_may_still_share_with_a_new_name(notebook):
    """Then it is stored anew, with that; and apart again when the name is gone."""
    notebook.cell("a = [[1], [2]]\nb = [a[0]]")
    assert names(notebook.cell("c = a[1]\nb")) == [("a", "b", "c")]
    assert names(notebook.cell("d = (a, b, c)[0]")) == [("a", "b", "c", "d")]
    assert names(notebook.cell("del c, d\na")) == [("a", "b")]
    assert names(notebook.cell("a, b")) == []
    assert names(notebook.cell("b[0].append(3)")) == [("a", "b")]
    assert names(notebook.cell("b = [[1, 3]]\na")) == [("a",), ("b",)]


def test_what_is_of_one_figure_is_one_group(notebook):
    """With whatever else shares with it; two figures are two."""
    notebook.cell("import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt")
    found = notebook.cell(
        "f, a = plt.subplots(2)\nlines = a[0].plot([1, 2])\ng, h = plt.subplots()"
    )
    assert [group for group in names(found) if len(group) > 1] == [("a", "f", "lines"), ("g", "h")]
    mine = notebook.cell("mine = []\na[1].mine = mine\nx = [mine]")
    assert names(mine) == [("a", "f", "lines", "mine", "x")]
    then = notebook.restored()
    assert then["lines"][0] is then["a"][0].lines[0] and then["f"].axes[1] is then["a"][1]
    assert then["a"][1].mine is then["mine"] is then["x"][0] and then["h"].figure is then["g"]
    assert names(notebook.cell("f, h, x")) == []


@pytest.mark.parametrize(
    "draw",
    [
        "f.canvas.draw()",
        "x.scatter([1], [2])",
        "x.errorbar([1], [2], [3], fmt='.')",
        "x.imshow([[1, 2]], cmap='jet')",
        "x.hist([1, 2, 2])\nx.legend(['h'])\nf.savefig(__import__('io').BytesIO())",
    ],
)
def test_two_figures_are_two_although_both_have_what_matplotlib_has_one_of(notebook, draw):
    """The matrix of what transforms nothing, the circle, colours: that is nobody's state."""
    notebook.cell("import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt")
    notebook.cell(f"f, x = plt.subplots(layout='constrained')\n{draw}\na = x")
    found = notebook.cell(f"f, x = plt.subplots(layout='constrained')\n{draw}")
    assert [group for group in names(found) if len(group) > 1] == [("f", "x")]
    notebook.cell("plt.close('all')")


def test_large_plain_data_are_not_dumped_as_long_as_they_are_what_they_were(unswept, monkeypatch):
    """But all that shares with them is, and so are they as soon as anything inside changes."""
    unswept.cell("data = [{'word': f'{i}', 'all': (i, [i])} for i in range(5000)]\nother = 5")
    dumped = []
    usual = state.dump

    def dump(objects, *rest):
        dumped.extend(objects)
        return usual(objects, *rest)

    monkeypatch.setattr(state, "dump", dump)
    assert names(unswept.cell("len(data)")) == [] and "data" not in dumped
    assert names(unswept.cell("part = data[7]['all'][1]")) == [("data", "part")]
    dumped.clear()
    assert names(unswept.cell("data, other")) == [] and not {"data", "part"} & set(dumped)
    assert names(unswept.cell("data[7]['all'][1].append(1)")) == [("data", "part")]
    assert names(unswept.cell("data[8]['word'] = 8")) == [("data", "part")]
    assert names(unswept.cell("data = list(data)")) == []  # it is another object, and equal
    then = unswept.restored()
    assert then["data"][7]["all"][1] is then["part"] == [7, 1] and then["data"][8]["word"] == 8


def test_only_what_changed_is_stored_again(notebook):
    """New and changed names are stored, others are not."""
    assert names(notebook.cell("a = [1]\nb = 2")) == [("a",), ("b",)]
    assert names(notebook.cell("c = 3")) == [("c",)]
    assert names(notebook.cell("b = 2")) == []
    assert names(notebook.cell("b = 4")) == [("b",)]


@pytest.mark.parametrize(
    "source",
    [
        "alias.append(2)",
        "f()",
        "box['inner'].append(2)",
        "exec('a.ap' + 'pend(2)')",
        "globals()['a'].append(2)",
        "(lambda x: x.append(2))(alias)",
    ],
)
def test_a_change_is_seen_however_it_is_made(notebook, source):
    """Through an alias, a function, a container, exec: the cell need not mention the name."""
    notebook.cell("a = [1]\nalias = a\nbox = {'inner': a}\ndef f():\n    a.append(2)")
    changes = notebook.cell(source)
    assert names(changes) == [("a", "alias", "box")]
    assert notebook.restored()["a"] == [1, 2]


def test_names_that_share_are_one_group_and_still_share(notebook):
    """Also when they began to share in a later cell."""
    notebook.cell("a = [1]\nb = [2]")
    assert names(notebook.cell("b = a")) == [("a", "b")]
    back = notebook.restored()
    assert back["a"] is back["b"]


def test_names_that_no_longer_share_are_apart(notebook):
    """After b is bound anew the old group is not restored over it."""
    notebook.cell("a = [1]\nb = a")
    notebook.cell("b = [5]")
    back = notebook.restored()
    assert (back["a"], back["b"]) == ([1], [5])


def test_views_of_an_array_under_two_names_share_memory(notebook):
    """numpy views are found through the memory they use."""
    notebook.cell("import numpy as np\nx = np.arange(10000.)\ny = x[::2]")
    back = notebook.restored()
    back["x"][:] = 1
    assert (back["y"] == 1).all()


def test_a_deleted_name_does_not_come_back(notebook):
    """del is part of the state."""
    notebook.cell("a = 1\nb = [a]")
    assert notebook.cell("del a").deleted == ("a",)
    assert set(notebook.restored()) >= {"b"}
    assert "a" not in notebook.restored()


def test_a_name_that_became_unstorable_does_not_come_back_as_it_was(notebook):
    """An old value under its name would be a wrong result."""
    notebook.cell("a = [1]")
    changes = notebook.cell("a = (n for n in range(3))")
    assert [omitted.name for omitted in changes.omitted] == ["a"]
    assert "generator" in changes.omitted[0].reason
    assert "a" not in notebook.restored()


def test_an_unstorable_object_is_reported_by_every_cell_that_may_change_it(notebook):
    """Also if the cell reaches it through a function only."""
    notebook.cell("import itertools\ng = (n for n in range(9))\ndef f():\n    return next(g)")
    assert notebook.cell("x = 1").omitted == ()
    assert [o.name for o in notebook.cell("y = f()").omitted] == ["g"]
    assert [o.name for o in notebook.cell("eval('next(g)')").omitted] == ["g"]


def test_the_shells_own_names_are_not_state(notebook):
    """In and the inputs are IPython's."""
    assert names(notebook.cell("x = 1")) == [("x",)]


def test_a_restored_name_is_not_a_change_of_the_next_cell(notebook):
    """What was brought back and not touched is not stored again."""
    notebook.cell("a = [1]\nb = {'x': 2}\nc = 3")
    later = Notebook()
    later.store = notebook.store
    later.tracker.restored(notebook.bring_all(later.namespace).objects)
    assert names(later.cell("b['x'] += 1")) == [("b",)]


def test_a_missing_blob_is_a_failure_that_names_what_is_lost(notebook):
    """The others come back."""
    notebook.cell("a = [1]\nb = [2]")
    lost = next(s for s in notebook.checkpoints[0].objects if s.names == ("a",))
    del notebook.store._blobs[lost.blob]
    namespace = {}
    result = notebook.bring_all(namespace)
    assert namespace["b"] == [2]
    assert [(f["cell"], f["names"], f["integrity"]) for f in result.failed] == [(1, ["a"], True)]


STEPS = st.lists(
    st.sampled_from(
        [
            "a = [1]", "b = a", "a.append(len(a))", "b = [0]", "c = {'a': a}", "del b",
            "c['n'] = 5", "a = list(a)", "d = (a, a)", "x = 5", "x += 1", "b = c", "a = 7",
        ]
    ),
    max_size=8,
)  # fmt: skip


@given(STEPS)
def test_the_restored_state_is_the_state_whatever_the_cells_did(steps):
    """For random cells: equal values, and names that were one object still are."""
    for settings in ({}, {"sweep_share": 0}):
        check_restored(steps, Notebook(**settings))


def check_restored(steps, notebook):
    """Run the steps as cells, and compare with the restored namespace."""
    for step in steps:
        try:
            exec(step, dict(notebook.namespace))
        except (NameError, AttributeError, TypeError, KeyError):
            continue
        notebook.cell(step)
    back = notebook.restored()
    mine = {n: notebook.namespace[n] for n in notebook.tracker.user_names()}
    assert {n: back[n] for n in mine} == mine
    assert set(back) - {"__name__"} - {"__builtins__"} == set(mine)
    for first in mine:
        for second in mine:
            if isinstance(mine[first], (list, dict)):
                same = mine[first] is mine[second]
                assert (back[first] is back[second]) == same


def test_large_arrays_that_did_not_change_are_not_stored_again(notebook):
    """They are compared by content."""
    notebook.cell("import numpy as np\nx = np.zeros(100_000)")
    assert names(notebook.cell("y = x.sum()")) == [("y",)]
    assert names(notebook.cell("x[5] = 1")) == [("x",)]
    assert np.array_equal(notebook.restored()["x"], notebook.namespace["x"])


def test_a_frame_that_shares_memory_with_a_changed_array_is_stored_again(notebook):
    """With it, as both use it; though the cell names the array only."""
    notebook.cell("import numpy as np, pandas as pd\nx = np.zeros((4, 2))")
    notebook.cell("df = pd.DataFrame(x, copy=False)")
    changed = names(notebook.cell("x[0, 0] = 7"))
    shared = notebook.namespace["df"].iloc[0, 0] == 7  # newer releases of pandas may copy
    assert ("df", "x") in changed or not shared
    assert notebook.restored()["df"].iloc[0, 0] == notebook.namespace["df"].iloc[0, 0]


def test_only_what_a_cell_may_have_reached_is_looked_at(unswept, monkeypatch):
    """The cost does not grow with the namespace."""
    for number in range(50):
        unswept.cell(f"x{number} = [{number}]")
    looked_at = []
    dump = unswept.tracker._dump_names
    monkeypatch.setattr(
        unswept.tracker, "_dump_names", lambda names: looked_at.extend(names) or dump(names)
    )
    unswept.cell("y = x7 + [1]")
    assert looked_at == ["x7", "y"]


def change_unseen(notebook):
    """Change ``a`` as a thread would: no cell shows it."""
    notebook.namespace["a"].append(9)


def test_a_sweep_finds_what_changed_unseen_and_since_when(unswept):
    """It cannot say which cell it was, only which was the last to leave it as it was."""
    unswept.cell("a = [1]")
    unswept.cell("b = 2")
    change_unseen(unswept)
    unswept.cell("c = 3")
    assert unswept.tracker.unswept
    assert unswept.tracker.sweep() == {"a": 1}
    assert unswept.tracker.sweep() == {}
    assert not unswept.tracker.unswept


def test_a_sweep_for_some_cells_looks_at_what_nobody_has_looked_at_since(unswept, monkeypatch):
    unswept.cell("a = [1]")
    unswept.cell("b = [2]")
    change_unseen(unswept)
    unswept.cell("c = [3]")
    looked_at = []
    dump = unswept.tracker._dump_names
    monkeypatch.setattr(
        unswept.tracker, "_dump_names", lambda names: looked_at.extend(names) or dump(names)
    )
    assert unswept.tracker.sweep(1) == {} and not looked_at
    assert unswept.tracker.sweep(2) == {"a": 1} and looked_at == ["a"]
    assert unswept.tracker.unswept


def test_a_cell_is_not_blamed_for_what_changed_before_it(unswept):
    """What it may reach is looked at before it runs."""
    unswept.cell("a = [1]")
    unswept.cell("b = 2")
    change_unseen(unswept)
    assert unswept.tracker.before("a.append(5)") == {"a": 1}
    assert unswept.tracker.before("a.append(5)") == {}


def test_what_takes_long_to_look_at_is_not_swept_after_every_cell():
    """However few bytes it has: cells that do not use it pay nothing for it."""
    notebook = Notebook()
    notebook.cell(
        "import time\nlooks = []\nclass Slow:\n    def __reduce__(self):\n"
        "        looks.append(1)\n        time.sleep(0.2)\n        return Slow, ()\nslow = Slow()"
    )
    before = len(notebook.namespace["looks"])
    for number in range(4):
        notebook.cell(f"x = {number}")
    assert len(notebook.namespace["looks"]) == before
    notebook.cell("y = slow")
    assert len(notebook.namespace["looks"]) > before


def test_a_change_right_after_a_sweep_is_the_cells_own(notebook):
    """With a look at all names after each cell nothing is late."""
    notebook.tracker.sweep_share = 1e9
    notebook.cell("a = [1]")
    change_unseen(notebook)
    changes = notebook.cell("b = 2")
    assert names(changes) == [("a",), ("b",)]
    assert changes.late == {}


def test_what_a_brought_module_may_hold_is_looked_at(unswept, tmp_path, monkeypatch):
    """A cell that calls into a module of the notebook's directory may change anything."""
    (tmp_path / "keeper_module.py").write_text("kept = []\ndef add(n):\n    kept[0].append(n)\n")
    monkeypatch.syspath_prepend(tmp_path)
    unswept.cell("import keeper_module\na = [1]\nkeeper_module.kept.append(a)")
    unswept.cell("b = 2")
    assert names(unswept.cell("keeper_module.add(5)")) == [("a",)]


@pytest.mark.parametrize("name", ["display", "open", "exit", "In"])
def test_a_name_of_the_shell_is_the_notebooks_once_it_is_bound(name):
    """Also to a value of a built-in type."""
    notebook = Notebook()
    notebook.namespace.update({"display": print, "open": open, "exit": exit})
    notebook.tracker.baseline()
    assert names(notebook.cell("x = 1")) == [("x",)]
    assert names(notebook.cell(f"{name} = [5]")) == [(name,)]
