"""The notebooks that the checkpoint benchmark runs, as lists of cells. No imports but Python's.

Every tool gets the same cells. `%store` must be told what a cell changed, so each cell says.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A cell's source, and the names that it makes or changes."""

    source: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Notebook:
    """Cells; the first ``setup`` of them prepare and are not counted.

    ``checks`` maps names to expressions that are numbers and read all of the object. ``restore``
    are the names to bring back, each alone, in a new process.
    """

    name: str
    title: str
    cells: tuple[Cell, ...]
    setup: int
    checks: dict[str, str] = field(default_factory=dict)
    restore: tuple[str, ...] = ()


IMPORTS = Cell(
    "import numpy as np\nimport pandas as pd\nrng = np.random.default_rng(7)", ("np", "pd", "rng")
)


WANTED = ("array3", "frame1")


def one_percent(scale: float = 1.0, cells: int = 20) -> Notebook:
    """(a) 400 MB in 100 objects of 4 MB; each cell changes one of them."""
    items = int(500_000 * scale)
    makers, checks = {}, {}
    for number in range(100):
        if number % 5 < 3:
            makers[f"a{number:02}"] = f"rng.random({items})"
        elif number % 5 == 3:
            makers[f"f{number:02}"] = (
                f"pd.DataFrame(rng.random(({items // 8}, 8)), columns=list('abcdefgh'))"
            )
        else:
            makers[f"d{number:02}"] = (
                f"{{'left': rng.random({items // 2}), 'right': rng.random({items // 2})}}"
            )
        name = list(makers)[-1]
        read = {"a": "{}.sum()", "f": "{}.to_numpy().sum()", "d": "sum(map(np.sum, {}.values()))"}
        checks[name] = f"float({read[name[0]].format(name)})"
    made = "\n".join(f"{name} = {maker}" for name, maker in makers.items())
    changed = []
    for number, name in enumerate(list(makers)[2 : 2 + cells]):
        if name[0] == "f":
            changed.append(Cell(f"{name}[:] = {name} * 1.5\n{name}.head(3)", (name,)))
        elif name[0] == "d":
            half = f"{name}['left'] += 1\n{name}['right'] *= 2"
            changed.append(Cell(f"{half}\nprint(len({name}))", (name,)))
        elif number % 2:
            changed.append(Cell(f"{name} = np.sqrt({name})\nprint({name}.mean())", (name,)))
        else:
            changed.append(Cell(f"{name}[1:] += {name}[:-1]\nprint({name}.mean())", (name,)))
    first = [IMPORTS, Cell(made, ("rng", *makers))]
    title = f"(a) {cells} cells, each changes 1 % of {400 * scale:g} MB"
    return Notebook("a", title, (*first, *changed), 2, checks)


def inside_one(scale: float = 1.0, cells: int = 5) -> Notebook:
    """(a, harder) 400 MB in 4 arrays; each cell changes 1 % of the whole inside one of them."""
    items = int(12_500_000 * scale)
    names = [f"big{number}" for number in range(4)]
    made = "\n".join(f"{name} = rng.random({items})" for name in names)
    changed = []
    for number in range(cells):
        name, start = names[number % 4], items * (number + 1) // (cells + 2)
        source = f"{name}[{start} : {start + items // 25}] = 0"
        changed.append(Cell(f"{source}\nprint({name}[:5].sum())", (name,)))
    title = f"(a') {cells} cells, the 1 % inside an array of {100 * scale:g} MB"
    checks = {name: f"float({name}.sum())" for name in names}
    made_by = Cell(made, ("rng", *names))
    return Notebook("one-array", title, (IMPORTS, made_by, *changed), 2, checks)


def gigabyte(scale: float = 1.0) -> Notebook:
    """(b) 1 GB of numpy and pandas in ten variables of 100 MB."""
    items = int(12_500_000 * scale)
    cells = [IMPORTS]
    for number in range(6):
        cells.append(Cell(f"array{number} = rng.random({items})", ("rng", f"array{number}")))
    columns = "columns=list('abcdefghij')"
    for number in range(3):
        source = f"frame{number} = pd.DataFrame(rng.random(({items // 10}, 10)), {columns})"
        cells.append(Cell(source, ("rng", f"frame{number}")))
    rows = items // 10
    source = (
        f"frame3 = pd.DataFrame(rng.random(({rows}, 9)), columns=list('abcdefghi'))\n"
        f"frame3['site'] = pd.Series(rng.integers(0, 5000, {rows})).astype(str)"
    )
    cells.append(Cell(source, ("rng", "frame3")))
    checks = {
        **{f"array{n}": f"float(array{n}.sum())" for n in range(6)},
        **{f"frame{n}": f"float(frame{n}.to_numpy().sum())" for n in range(3)},
        "frame3": "float(frame3[list('abcdefghi')].sum().sum() + frame3['site'].str.len().sum())",
    }
    title = f"(b) {scale:g} GB of numpy and pandas, one variable restored"
    return Notebook("b", title, tuple(cells), 1, checks, WANTED)


_SMALL = (
    ("count{n} = {n}\nlabel{n} = f'run {{count{n}}}'", ("count{n}", "label{n}")),
    ("values{n} = [i * {n} for i in range(50)]\nprint(sum(values{n}))", ("values{n}",)),
    ("def scale{n}(x, by={n}):\n    return x * by + len(settings)", ("scale{n}",)),
    ("settings['k{n}'] = {{'width': {n}, 'names': ['a', 'b']}}", ("settings",)),
    ("table{n} = pd.DataFrame({{'x': range(40), 'y': np.arange(40.0) + {n}}})", ("table{n}",)),
    ("array{n} = np.linspace(0, {n}, 200).reshape(10, 20)\narray{n}.sum()", ("array{n}",)),
    ("class Point{n}:\n    def __init__(self, x):\n        self.x = x", ("Point{n}",)),
    ("history.append(scale{m}({n}))\nprint(history[-1])", ("history",)),
    ("text{n} = ' '.join(str(i) for i in range(100))\nlen(text{n})", ("text{n}",)),
    ("pairs{n} = {{(i, str(i)) for i in range(30)}}\ntotal{n} = len(pairs{n})",
     ("pairs{n}", "total{n}")),
)  # fmt: skip


def small_cells(cells: int = 200) -> Notebook:
    """(c) small cells as notebooks have them: numbers, lists, functions, small tables."""
    made = [IMPORTS, Cell("settings = {}\nhistory = []", ("settings", "history"))]
    for number in range(cells):
        source, names = _SMALL[number % len(_SMALL)]
        # The function that this cell calls is the one of the same ten.
        numbers = {"n": number, "m": number - number % len(_SMALL) + 2}
        made.append(Cell(source.format(**numbers), tuple(n.format(**numbers) for n in names)))
    checks = {"history": "sum(history)", "settings": "len(settings)"}
    for number in range(0, cells - cells % len(_SMALL), len(_SMALL)):
        checks[f"count{number}"] = f"count{number}"
        checks[f"scale{number + 2}"] = f"scale{number + 2}(2)"
        checks[f"table{number + 4}"] = f"float(table{number + 4}['y'].sum())"
        checks[f"Point{number + 6}"] = f"Point{number + 6}(3).x"
    return Notebook("c", f"(c) {cells} small cells", tuple(made), 2, checks)


def notebooks(scale: float = 1.0, cells: int | None = None) -> dict[str, Notebook]:
    """All of them by name. ``scale`` multiplies sizes; ``cells`` sets how many are counted."""
    made = [
        one_percent(scale, cells or 20),
        inside_one(scale, cells or 5),
        gigabyte(scale),
        small_cells(cells or 200),
    ]
    return {notebook.name: notebook for notebook in made}
