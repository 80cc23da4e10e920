"""Random graphs and random edits: what a repeat executes is what the edit reaches, and it is right.

A notebook is a chain of steps: submitted tasks use futures, delayed ones use futures and delayed
ones. Numbers are small remainders, so that an edited task often comes to what it came to before:
then what is below it need not run.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_task_cache import Kernel, client  # noqa: F401  (a fixture)

pytestmark = pytest.mark.integration

FUNCTIONS = 3
SLOW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Code:
    """What functions do; each has a factor in its body, a global, and a helper."""

    def __init__(self, factors=(1, 2, 3), globals_=(1, 2, 3), helper=1, note=""):
        self.factors, self.globals, self.helper, self.note = factors, globals_, helper, note

    def source(self):
        """The first cell."""
        lines = [f"def helper(x):\n    # {self.note}\n    return x + {self.helper}"]
        for number, (factor, other) in enumerate(zip(self.factors, self.globals, strict=True)):
            call = "helper" if number == 0 else ""
            lines.append(f"G{number} = {other}")
            lines.append(
                f"def f{number}(c, *xs):  # {self.note}\n"
                f"    return ({factor} * {call}(c + sum(xs)) + G{number}) % 3"
            )
        return "\n".join(lines)

    def identity(self, number):
        """Equal for functions that are the same."""
        return (number, self.factors[number], self.globals[number], number == 0 and self.helper)

    def value(self, number, literal, inputs):
        """What a task comes to."""
        x = literal + sum(inputs) + (self.helper if number == 0 else 0)
        return (self.factors[number] * x + self.globals[number]) % 3


class Step:
    """One task: a function, a literal, and earlier steps."""

    def __init__(self, style, function, literal, inputs):
        self.style, self.function, self.literal, self.inputs = style, function, literal, inputs


def source_of(steps):
    """The second cell."""
    lines = ["import dask"]
    for number, step in enumerate(steps):
        names = ", ".join([str(step.literal), *(f"v{i}" for i in step.inputs)])
        if step.style == "submit":
            lines.append(f"v{number} = client.submit(f{step.function}, {names}, key='s{number}')")
        else:
            lines.append(
                f"v{number} = dask.delayed(f{step.function})({names}, dask_key_name='d{number}')"
            )
    lines.append("out = client.gather([v for v in [" + names_of(steps, "submit") + "]])")
    lines.append("late = [" + names_of(steps, "delayed") + "]")
    lines.append("out += client.gather(client.compute(late)) if late else []")
    return "\n".join(lines)


def names_of(steps, style):
    """Of the variables of this kind of steps."""
    return ", ".join(f"v{n}" for n, step in enumerate(steps) if step.style == style)


class Oracle:
    """What must come out, and which steps must run, given what the audit did."""

    def __init__(self, code, steps):
        self.values, self.deep, self.shallow = [], [], []
        for step in steps:
            inputs = [self.values[i] for i in step.inputs]
            self.values.append(code.value(step.function, step.literal, inputs))
            mine = (code.identity(step.function), step.literal)
            self.deep.append((mine, tuple(self.deep[i] for i in step.inputs)))
            self.shallow.append((mine, tuple(inputs)))

    def out(self, steps):
        """The notebook's result."""
        order = [n for n, s in enumerate(steps) if s.style == "submit"]
        order += [n for n, s in enumerate(steps) if s.style == "delayed"]
        return [self.values[n] for n in order]

    def run(self, steps, audit):
        """How many steps run: all are asked for, so none is culled that is not known."""
        known, same = set(audit.deep), set(audit.shallow)
        run = [n for n in range(len(steps)) if self.deep[n] not in known]
        return sum(self.shallow[n] not in same for n in run), len(run)


codes = st.builds(
    Code,
    st.tuples(*[st.integers(1, 3)] * FUNCTIONS),
    st.tuples(*[st.integers(1, 3)] * FUNCTIONS),
    st.integers(0, 2),
    st.sampled_from(["", "a remark"]),
)


@st.composite
def programs(draw):
    """Steps, each using earlier ones that it may."""
    steps = []
    for number in range(draw(st.integers(2, 8))):
        style = draw(st.sampled_from(["submit", "delayed"]))
        usable = [n for n, s in enumerate(steps) if style == "delayed" or s.style == "submit"]
        inputs = draw(st.lists(st.sampled_from(usable), max_size=3)) if usable else []
        # No two tasks are alike: Dask itself takes such for one.
        steps.append(Step(style, draw(st.integers(0, FUNCTIONS - 1)), 3 * number, inputs))
    return steps


@st.composite
def edits(draw):
    """A program, and what it is edited to: code, or the literal of a step."""
    steps, before = draw(programs()), draw(codes)
    kind = draw(st.sampled_from(["factor", "global", "helper", "remark", "literal", "none"]))
    place = draw(st.integers(0, FUNCTIONS - 1))
    after = Code(before.factors, before.globals, before.helper, before.note)
    later = steps
    if kind == "factor":
        after.factors = tuple(f + (n == place) for n, f in enumerate(before.factors))
    elif kind == "global":
        after.globals = tuple(g + (n == place) for n, g in enumerate(before.globals))
    elif kind == "helper":
        after.helper += 1
    elif kind == "remark":
        after.note += " edited"
    elif kind == "literal":
        chosen = draw(st.integers(0, len(steps) - 1))
        later = [
            Step(s.style, s.function, s.literal + 1000 * (n == chosen), s.inputs)
            for n, s in enumerate(steps)
        ]
    return before, steps, after, later


@given(edits())
@settings(
    SLOW,
    max_examples=30,
)
def test_a_repeat_executes_what_the_edit_reaches_and_gives_what_a_plain_run_gives(
    tmp_path_factory,
    client,  # noqa: F811
    edit,
):
    """Of submitted and delayed tasks, mixed; also if what ran is kept and repeated again."""
    before, steps, after, later = edit
    place = tmp_path_factory.mktemp("edit")
    then, now = Oracle(before, steps), Oracle(after, later)
    audit = Kernel(place, client)
    assert audit.run(before.source(), source_of(steps)) == then.out(steps)
    repeat = Kernel(place, client, audit.known())
    assert repeat.run(after.source(), source_of(later)) == now.out(later)
    executed, planned = now.run(later, then)
    counts = repeat.cache.counts
    assert not repeat.cache.notes
    assert (counts.run, counts.same) == (executed, planned - executed), counts
    assert counts.loaded + counts.needless == len(later) - executed
    kept = [] if repeat.found is None else [repeat.found[0]]
    again = Kernel(place, client, audit.known(), kept)
    assert again.run(after.source(), source_of(later)) == now.out(later)
    assert again.cache.counts.run == 0


FRAMES = """
import dask.array as da, dask.dataframe as dd, numpy as np, pandas as pd
x = da.from_array(np.arange(60.0).reshape(6, 10) + {0}, chunks=(2, 5))
y = x.map_blocks(lambda b: b % 7 * {1}, dtype=float)
z = (y + x.T.rechunk((10, 6)).sum() * {2}) if {3} else y.cumsum(axis=0)
p = pd.DataFrame({{"k": np.arange(90) % 5, "v": np.arange(90.0) + {0}}})
d = dd.from_pandas(p, npartitions=3).map_partitions(lambda q: q.assign(w=q.v // {1}))
d = d[d.w > {2}] if {3} else d.repartition(npartitions=2)
g = d.groupby("k").w.agg(["sum", "max"]).persist()
out = [z.sum().compute().item(), z[1:4, ::2].compute().tolist()]
out += [g.compute().sort_index().to_dict(), len(d), (g["sum"] * {4}).sum().compute()]
"""
numbers = st.tuples(*[st.integers(1, 3)] * 3, st.booleans(), st.integers(1, 3))


@given(numbers, numbers, st.integers(0, 4))
@settings(
    SLOW,
    max_examples=10,
)
def test_arrays_and_frames_come_to_what_a_plain_run_gives(
    tmp_path_factory,
    client,  # noqa: F811
    before,
    other,
    place,
):
    """With one number of the notebook edited; unedited nothing runs."""
    after = tuple(o if n == place else b for n, (b, o) in enumerate(zip(before, other)))
    directory = tmp_path_factory.mktemp("frames")
    audit = Kernel(directory, client)
    first = audit.run(FRAMES.format(*before))
    plain = {"client": client}
    exec(FRAMES.format(*after), plain)
    repeat = Kernel(directory, client, audit.known())
    assert repeat.run(FRAMES.format(*after)) == plain["out"]
    assert not repeat.cache.notes
    if after == before:
        assert repeat.cache.counts.run == 0 and plain["out"] == first
