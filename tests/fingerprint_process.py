"""Fingerprints the table of cases; a program, for another hash seed, directory and home.

With ``--plain`` only those that need nothing installed, without their graphs: for other Pythons.

Prints one JSON object: for each case ``[before, after]``; each is the list of its outputs'
fingerprints (digest and what it draws from outside), or of reasons why there is none.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [
        str(Path(__file__).resolve().parents[1] / "runtime"),
        str(Path(__file__).resolve().parent),
    ]

from nbrw_runtime import task_modules
from nbrw_runtime.task_fingerprint import Fingerprint, Fingerprinter
from nbrw_runtime.task_values import Walker


def graph_of(task):
    """The graph, and the keys that count, of what a case calls ``task``."""
    import dask
    from dask._task_spec import Task, convert_legacy_graph

    if isinstance(task, dict) and task and all(isinstance(n, Task) for n in task.values()):
        return task, [list(task)[-1]]
    if hasattr(task, "__dask_graph__"):
        made = task.optimize() if hasattr(task, "expr") else dask.optimize(task)[0]
        keys = [made.__dask_keys__()]
        flat = []
        while keys:
            key = keys.pop(0)
            if isinstance(key, list):
                keys = [*key, *keys]
            else:
                flat.append(key)
        return convert_legacy_graph(dict(made.__dask_graph__())), flat
    if callable(task):
        return {"t": Task("t", task, 1)}, ["t"]
    return {"t": Task("t", len, task)}, ["t"]


def run(source, files=(), versions=(), plain=False):
    """The fingerprints of a cell's ``task``; ``plain``: the digest of the object itself."""
    versions = dict(versions)
    original = task_modules.metadata.version
    with tempfile.TemporaryDirectory() as directory:
        for file, text in dict(files).items():
            path = Path(directory, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        sys.path.insert(0, directory)
        loaded = set(sys.modules)
        main = sys.modules["__main__"]
        module = type(sys)("__main__")
        space = vars(module)
        sys.modules["__main__"] = module
        task_modules.metadata.version = lambda found: versions.get(found) or original(found)
        try:
            exec(compile(source, f"<cell in {directory}>", "exec"), space)
            if plain:
                walker = Walker(task_modules.Modules(directory), space)
                walker.walk(space["task"])
                digest = hashlib.sha256(walker.out).hexdigest()
                # Another process does not find what a cache here holds.
                outside = [
                    words for words in walker.outside if not words.startswith("what a cache")
                ]
                return [{"digest": digest, "outside": outside}]
            graph, keys = graph_of(space["task"])
            found = Fingerprinter(space, directory).fingerprints(graph, {})
            return [told(found[key]) for key in keys]
        finally:
            task_modules.metadata.version = original
            sys.modules["__main__"] = main
            sys.path.remove(directory)
            for name in set(sys.modules) - loaded:
                if getattr(sys.modules[name], "__file__", None) and directory in str(
                    sys.modules[name].__file__
                ):
                    del sys.modules[name]
            sys.path_importer_cache.clear()


def told(found):
    """A fingerprint or refusal as JSON."""
    if isinstance(found, Fingerprint):
        return {"digest": str(found.digest), "outside": list(found.outside)}
    return {"reason": found.reason}


def needs_more(case):
    """Whether a case needs a library, or is about refusing a task."""
    libraries = ("dask", "numpy", "pandas", "pyarrow", "distributed", "xarray", "sklearn", "numba")
    used = any(name in case.before for name in libraries)
    return used or case.versions or case.want not in ("same", "different")


def main():
    """Of all cases."""
    from fingerprint_cases import CASES

    sys.dont_write_bytecode = True
    results = {}
    plain = "--plain" in sys.argv
    for case in CASES:
        if plain and needs_more(case):
            continue
        results[case.name] = [
            run(case.before, case.files, case.versions, plain),
            run(
                case.after,
                case.files_after or case.files,
                case.versions_after or case.versions,
                plain,
            ),
        ]
    print(json.dumps(results))


if __name__ == "__main__":
    main()
