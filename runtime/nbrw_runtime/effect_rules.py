"""Which calls and assignments have an effect that neither a name nor a file shows. Pure.

A *path* is a dotted name from an imported module on, such as ``sklearn.set_config``; ``()`` stands
for a call in it. In doubt there is an effect: then a cell runs again, where it could have been
restored.
"""

from __future__ import annotations

import re
import sys

# State that is stored and restored (`state_providers.py`): assignments below these,
_COVERED_PLACES = (
    "decimal.getcontext()", "logging.getLogger()", "matplotlib.pyplot.rcParams",
    "matplotlib.rcParams", "os.environ", "pandas.options", "sys.path", "warnings.filters",
)  # fmt: skip
# and calls of what begins so.
_COVERED_CALLS = (
    "IPython.core.magic.register_", "csv.field_size_limit", "dask.config.set",
    "dask.distributed.Event().", "dask.distributed.Queue().", "dask.distributed.Variable().",
    "decimal.", "distributed.Event().", "distributed.Queue().", "distributed.Variable().",
    "locale.", "matplotlib.pyplot.", "matplotlib.rc", "matplotlib.style.use", "matplotlib.use",
    "numpy.random.", "numpy.set_printoptions", "numpy.seterr", "pandas.reset_option",
    "pandas.set_eng_float_format", "pandas.set_option", "random.", "seaborn.set",
    "sklearn.set_config", "socket.setdefaulttimeout", "sys.set_int_max_str_digits",
    "sys.setrecursionlimit", "sys.setswitchinterval", "warnings.",
)  # fmt: skip
# Though they begin so.
_NOT_COVERED = (
    "numpy.seterrcall", "seaborn.set", "seaborn.set_color_codes", "seaborn.set_theme",
)  # fmt: skip
# Of Python's own modules only these calls are suspicious.
_STDLIB = re.compile(
    r"(sys\.(set|addaudithook|path_hooks|meta_path|modules)|signal\.|socket\.set|gc\.(?!collect)"
    r"|threading\.(set|stack_size)|atexit\.|os\.(umask|nice|set)|faulthandler\.|tracemalloc\.st"
    r"|logging\.set|codecs\.register|copyreg\.|readline\."
    r"|resource\.set|multiprocessing\.set_|asyncio\.set_|importlib\.(reload|invalidate)|builtins\."
    r"|csv\.(register|field_size)|mimetypes\.|sqlite3\.register|time\.tzset|unittest\.mock\.patch"
    r"|tempfile\.mk[ds]|[\w.]*\.(?:set|register|install|reset)\w*\Z)"
)
# Libraries all of whose calls draw, show or change what they are given.
_HARMLESS_MODULES = (
    "IPython.display.", "matplotlib.pyplot.", "networkx.", "numpy.testing.", "pandas.testing.",
    "plotly.express.", "pylab.", "seaborn.",
)  # fmt: skip
_HARMLESS_VERBS = re.compile(
    r"(assert|bar|check|clear_output|close|compute|copy|critical|debug|describe|display|download|draw"
    r"|dump|error|export|fetch|hist|imshow|info|log|makedirs|mkdir|move|persist|plot|pprint|print"
    r"|progress|rebalance|remove|render|report|retrieve|save|savez|savefig|savemat|savetxt|scatter"
    r"|show|sleep|summary|test|to|validate|verify|visualize|wait|warning|write)(_|[A-Z]|\Z)"
)
# numpy's functions give a result or write into an array that they are given.
_NUMPY = re.compile(r"numpy\.(?!set)\w+(\.at)?\Z")
_SETTERS = re.compile(
    r"(set|reset|register|unregister|deregister|enable|disable|use|switch|configure|config|init"
    r"|install|patch|unpatch|setup|activate|deactivate)(_|[A-Z]|\Z)|basicConfig\Z"
)
MUTATORS = frozenset(
    {
        "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove",
        "reverse", "setdefault", "sort", "update",
    }
)  # fmt: skip


def assignment_matters(path: str) -> bool:
    """Whether to assign to this path, or below it, is an effect that is not restored."""
    return not any(path == place or path.startswith(f"{place}.") for place in _COVERED_PLACES)


def call_matters(path: str, discarded: bool) -> bool:
    """Whether to call this is such an effect. ``discarded``: nobody takes the result."""
    head, _, last = path.rpartition(".")
    if path in _NOT_COVERED:
        return True
    if path.startswith(_COVERED_CALLS):
        return False
    if "." in head and last in MUTATORS and "()" not in head:
        return assignment_matters(head)
    if path.partition(".")[0] in sys.stdlib_module_names:
        return bool(_STDLIB.match(path))
    if path.startswith(_HARMLESS_MODULES) or _NUMPY.match(path):
        return False
    if _SETTERS.match(last) and "()" not in head:
        return True
    return discarded and not _HARMLESS_VERBS.match(last)


def sets_up(path: str) -> bool:
    """Whether to call this changes how the object at the path's head behaves, by its name."""
    last = path.rpartition(".")[2]
    return last in MUTATORS or bool(_SETTERS.match(last)) or last == "load_extension"
