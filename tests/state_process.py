"""Runs rows of `state_rows.py` as notebooks of an audit, or restores what their cells left; prints
what the states are as JSON. A program, so that its process can have any user and hash seed.

    state_process.py author PLACE [KIND...]         audits each row below PLACE
    state_process.py identities PLACE [KIND...]     the same, and tells only what is stored
    state_process.py restore PLACE WORK [KIND...]   restores each of its prefixes and groups
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "runtime")]

for module in ("numpy", "pandas", "matplotlib.pyplot", "sklearn.pipeline"):
    try:
        importlib.import_module(module)
    except ImportError:
        pass

from checkpoint_helper import latest  # noqa: E402
from nbrw_runtime.checkpoint import Checkpoint  # noqa: E402
from nbrw_runtime.notebook import cell_digest  # noqa: E402
from nbrw_runtime.recipe import RecipeCell  # noqa: E402
from nbrw_runtime.records import from_json  # noqa: E402
from nbrw_runtime.session_file import Session  # noqa: E402
from nbrw_runtime.store import DirectoryStore  # noqa: E402
from repeat_harness import Kernel  # noqa: E402
from state_graph import describe, text  # noqa: E402
from state_rows import ROWS  # noqa: E402

LAST = "untouching = 0"


def forked(function, *arguments):
    """What the function returns in a child, as a JSON value; its traceback if it failed."""
    with tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            try:
                value = function(*arguments)
            except BaseException:
                value = {"failed": traceback.format_exc()}
            json.dump(value, answer)
            answer.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        answer.seek(0)
        return json.loads(answer.read() or json.dumps({"failed": f"ended with {status}"}))


def cells_of(row):
    """The row's cells as a session has them, and one more that touches nothing of theirs."""
    return tuple(
        RecipeCell(number, f"c{number}", cell_digest(source), source)
        for number, source in enumerate((*row.cells, LAST), 1)
    )


def graph(names, namespace, place):
    """The graph as text, taken in a child: to look at an object may change it."""
    return forked(lambda: text(describe(names, namespace, [place])))


def names_in(row, namespace):
    """The row's names: a letter and a number."""
    letters = {n for n in namespace if len(n) > 1 and n[0].isalpha() and n[1:].isdigit()}
    return {name for name in letters if any(name in source for source in row.cells)}


def author(place, row, graphs=True):
    """Audit one row: what each cell left, and how it was stored; ``graphs``: what it is, too."""
    for name in ("work", "checkpoints", "written", "store"):
        (place / name).mkdir(parents=True)
    orders = Session(
        "audit", cells_of(row), (str(place / "store"),), str(place / "checkpoints"),
        str(place / "work"), str(place / "work"), str(place / "written"),
    )  # fmt: skip
    kernel = Kernel(orders)
    omitted, codecs, cells = {}, {}, []
    for number, source in enumerate(row.cells, 1):
        outputs = kernel.run(number, source)
        assert outputs.error is None, (row.kind, outputs.error)
        assert kernel.session.failure is None, kernel.session.failure
        assert not kernel.session.notes, kernel.session.notes
        left = read(place, number)
        for stored in left.objects:
            for name in stored.names:
                omitted.pop(name, None)
                codecs[name] = stored.codec
        omitted.update({o.name: o.reason for o in left.omitted})
        namespace = kernel.shell.user_ns
        names = sorted(names_in(row, namespace) - set(omitted))
        groups = {}
        for stored in left.objects:
            some = [name for name in stored.names if name in names]
            if some and graphs:
                groups[" ".join(stored.names)] = graph(some, namespace, place / "work")
        cells.append(
            {
                "names": names,
                "graph": graph(names, namespace, place / "work") if graphs else "",
                "groups": groups,
                "omitted": {n: why for n, why in omitted.items() if n in names_in(row, namespace)},
                "codecs": {n: codecs[n] for n in names if n in codecs},
                "identities": {" ".join(s.names): str(s.digest) for s in left.objects},
            }
        )
    kernel.run(len(row.cells) + 1, LAST)
    left = read(place, len(row.cells) + 1)
    untouched = {name for stored in left.objects for name in stored.names} - {"untouching"}
    cells[-1]["stored again"] = sorted(untouched)
    return cells


def read(place, number):
    """A cell's checkpoint."""
    path = place / "checkpoints" / f"{number:04d}.json"
    return from_json(Checkpoint, json.loads(path.read_bytes()), str(path))


def repeat_kernel(place, work, row, until):
    """A kernel of a repeat, with the files that the cells left."""
    work.mkdir(parents=True)
    store = DirectoryStore(place / "store")
    for number in range(1, until + 1):
        for stored in read(place, number).files:
            target = work / Path(stored.path).relative_to(place / "work")
            target.write_bytes(store.get(stored.digest))
    orders = Session(
        "repeat", cells_of(row), (str(work / ".store"), str(place / "store")),
        str(place / "checkpoints"), str(work), str(place / "work"),
    )  # fmt: skip
    return Kernel(orders)


def restored(place, work, row, until, names):
    """The graph of these names, after the first cells were restored."""
    kernel = repeat_kernel(place, work, row, until)
    wanted = latest(read(place, number) for number in range(1, until + 1))
    request = {"wanted": wanted, "drop": [], "sources": [], "count": until + 1, "last": until}
    answer = kernel.ask("bring_json", json.dumps(request))
    if answer["failed"]:
        return {"failed": answer["failed"]}
    return text(describe(names, kernel.shell.user_ns, [work]))


def brought(place, work, row, number, names):
    """The graph of these names, which a cell left together, brought alone."""
    kernel = repeat_kernel(place, work, row, number)
    request = {"wanted": {str(number): names}, "drop": [], "sources": [], "count": 9}
    answer = kernel.ask("bring_json", json.dumps(request))
    if answer["failed"]:
        return {"failed": answer["failed"]}
    here = [name for name in names if name in names_in(row, kernel.shell.user_ns)]
    return text(describe(here, kernel.shell.user_ns, [work]))


def restore_all(place, work, row, cells):
    """All prefixes of a row, and all groups of names by themselves."""
    found = []
    for number, cell in enumerate(cells, 1):
        here = work / str(number)
        found.append(
            {
                "graph": forked(restored, place, here / "all", row, number, cell["names"]),
                "groups": {
                    group: forked(brought, place, here / str(index), row, number, group.split())
                    for index, group in enumerate(cell["groups"])
                },
            }
        )
    return found


def is_there(row):
    """Whether what the row needs is installed."""
    return not row.needs or importlib.util.find_spec(row.needs) is not None


def main(mode, place, *rest):
    """Go through the rows; one JSON object on standard output."""
    place = Path(place)
    work = Path(rest[0]) if mode == "restore" else None
    kinds = set(rest[1:] if mode == "restore" else rest)
    if mode == "restore":
        audited = json.loads((place / "author.json").read_text())
    result = {}
    for index, row in enumerate(ROWS):
        if (kinds and row.kind not in kinds) or not is_there(row):
            continue
        here = place / str(index)
        if mode in ("author", "identities"):
            result[row.kind] = forked(author, here, row, mode == "author")
        elif isinstance(audited.get(row.kind), list):
            result[row.kind] = restore_all(here, work / str(index), row, audited[row.kind])
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
