"""Which calls bring in what is neither in the notebook nor in its image and data. Pure.

A *path* is a dotted name from an imported module on, as in :mod:`nbrw_runtime.effect_rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CLOCK = "the clock"
CHANCE = "chance"
NETWORK = "the network"
PERSON = "a person's answer"
MACHINE = "the machine it runs on"

_ALWAYS = {
    CLOCK: (
        r"time\.(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?"
        r"|(datetime\.)?(datetime|date)\.(now|today|utcnow)|pandas\.Timestamp\.(now|today|utcnow)"
        r"|(timeit|arrow\.now|arrow\.utcnow|pendulum\.now|pendulum\.today)(\..*)?"
        r"|astropy\.time\.Time\.now"
    ),
    CHANCE: (
        r"secrets\..*|os\.(urandom|getrandom)|uuid\.uuid[14]|random\.SystemRandom(\..*)?|torch\.seed"
        r"|tempfile\.(mk.*|NamedTemporaryFile|TemporaryDirectory)"
    ),
    NETWORK: (
        r"urllib\.request\.(urlopen|urlretrieve)|(requests|httpx|aiohttp)\.(get|post|put|head|patch"
        r"|delete|request|options|Session|session|Client|ClientSession|AsyncClient)"
        r"|http\.client\..*Connection|(ftplib|smtplib|imaplib|poplib|telnetlib|xmlrpc\.client"
        r"|paramiko|boto3|pooch|wget)\..*|socket\.create_connection"
        r"|sklearn\.datasets\.fetch_.*|seaborn\.load_dataset|nltk\.download"
        r"|(datasets|huggingface_hub)\.(load_dataset|hf_hub_download|snapshot_download)"
    ),
    PERSON: r"(builtins\.)?input|getpass\.getpass|click\.(prompt|confirm)",
    MACHINE: (
        r"os\.(cpu_count|getpid|getlogin|uname|getloadavg|sched_getaffinity)|getpass\.getuser"
        r"|platform\.(node|uname|release|version|platform|processor|machine)|psutil\..*"
        r"|socket\.(gethostname|getfqdn|gethostbyname)|multiprocessing\.cpu_count"
    ),
}
#: These only if they are called without an argument.
_BARE = {
    CLOCK: r"time\.(localtime|gmtime|ctime|asctime)",
    CHANCE: (
        r"random\.(Random|seed)"
        r"|numpy\.random\.(default_rng|RandomState|SeedSequence|seed|MT19937|PCG64|Philox|SFC64)"
        r"|dask\.array\.random\.(default_rng|RandomState)"
    ),
}
# Dask's own functions draw from a generator that nobody has seeded, unless it was.
_DASK_RANDOM = re.compile(
    r"dask\.array\.random\.(?!default_rng|RandomState|Generator|seed)[a-z]\w*\Z"
)
_DASK_SEED = "dask.array.random.seed"
#: The name of numpy's global generator in checkpoints: it is there as soon as numpy is.
NUMPY = "<nbrw:numpy.random>"
_SEEDS = {
    "<nbrw:random>": re.compile(r"random\.(seed|setstate)\Z"),
    NUMPY: re.compile(r"numpy\.random\.(seed|set_state)\Z"),
}
# (Of `f().g()` the call of `f` is looked at by itself.)
_TABLE = [(kind, False, re.compile(rf"(?:{text})\Z")) for kind, text in _ALWAYS.items()]
_TABLE += [(kind, True, re.compile(rf"(?:{text})\Z")) for kind, text in _BARE.items()]

_MAGICS = [
    (CLOCK, re.compile(r"^\s*%{1,2}(?:time|timeit|prun)\b", re.MULTILINE)),
    (CLOCK, re.compile(r"^\s*!!?\s*(?:date|uptime|time)\b", re.MULTILINE)),
    (
        NETWORK,
        re.compile(
            r"^\s*(?:!!?\s*(?:curl|wget|git|ssh|scp|rsync|pip|conda|mamba)|%(?:pip|conda|mamba))\b",
            re.MULTILINE,
        ),
    ),
]


def kind_of_call(path: str, bare: bool) -> str:
    """What a call brings in; empty: nothing. ``bare``: it has no argument."""
    for kind, only_bare, pattern in _TABLE:
        if (bare or not only_bare) and pattern.match(path):
            return kind
    return CHANCE if _DASK_RANDOM.match(path) else ""


def kinds_of_magics(source: str) -> list[tuple[str, str]]:
    """What IPython's magics and shell lines in a cell bring in, each with its words."""
    return [
        (kind, match.group().strip())
        for kind, pattern in _MAGICS
        for match in pattern.finditer(source)
    ]


def seeds(path: str, generator: str) -> bool:
    """Whether a call gives a global generator (by its name in a checkpoint) a known state."""
    pattern = _SEEDS.get(generator)
    return bool(pattern and pattern.match(path))


def draws(calls: Iterable[tuple[str, bool]]) -> bool:
    """Whether one of these calls is of numpy's global generator."""
    return any(path.startswith("numpy.random.") for path, _ in calls)


def seeds_dask(path: str) -> bool:
    """Whether a call seeds the generator behind the functions of ``dask.array.random``."""
    return path == _DASK_SEED


def generators() -> tuple[str, ...]:
    """The names of global generators in checkpoints."""
    return tuple(_SEEDS)
