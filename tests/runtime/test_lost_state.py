"""State outside the namespace that cannot be stored: cells know all the same that it is another."""

from __future__ import annotations

import logging

import pytest
from rich.console import Console
from rich.logging import RichHandler

from nbrw_runtime.codec import SaveContext, dump
from nbrw_runtime.codec_kinds import Lost
from nbrw_runtime.store import MemoryStore
from repeat_harness import Repeat, audit, plain_run

STREAM = (
    "import io, logging\nlog = logging.getLogger('nbrw_lost')",
    "buffer = io.StringIO()\nhandler = logging.StreamHandler(buffer)\nlog.setLevel(20)\n"
    "handler.setFormatter(logging.Formatter('%(levelname)s %(message)s'))\nlog.addHandler(handler)",
    "log.info('a=%s', 1)",
    "log.debug('b=%s', 2)",
    "print(buffer.getvalue())",
)
OWN = (
    "import logging\nclass Keeper(logging.Handler):\n    def __init__(self):\n"
    "        super().__init__()\n        self.records = []\n    def emit(self, record):\n"
    "        self.records.append(self.format(record))\nlog = logging.getLogger('nbrw_lost')\n"
    "log.setLevel(20)\nkeeper = Keeper()\nlog.addHandler(keeper)",
    "log.info('a=%s', 1)",
    "log.debug('b=%s', 2)",
    "print(keeper.records)",
)
GLOBAL = (
    "import logging\nRECORDS = []\nclass Keeper(logging.Handler):\n    def emit(self, record):\n"
    "        RECORDS.append(record.getMessage())\n"
    "logging.getLogger('nbrw_lost').addHandler(Keeper())\n"
    "logging.getLogger('nbrw_lost').setLevel(20)",
    "logging.getLogger('nbrw_lost').info('a=%s', 1)",
    "def work(n):\n    logging.getLogger('nbrw_lost').info('work %d', n)\nwork(3)",
    "print(RECORDS)",
)
BESIDE = (
    "import io, logging\nodd = logging.getLogger('nbrw_lost')\n"
    "odd.addHandler(logging.StreamHandler(io.StringIO()))\nb = logging.getLogger('nbrw_lost.b')",
    "b.setLevel(20)",
    "print(b.isEnabledFor(10))",
)
FILTER = (
    "import logging\nlog = logging.getLogger('nbrw_lost')\nclass Some(logging.Filter):\n"
    "    def filter(self, record):\n        return True\nlog.setLevel(20)\nlog.addFilter(Some())",
    "print(log.isEnabledFor(10))",
)
SHOWN = (
    "class Money:\n    v = 3",
    "get_ipython().display_formatter.formatters['text/plain'].for_type(\n"
    "    Money, lambda m, p, cycle: p.text(f'${m.v:.2f}'))\nNone",
    "Money()",
)
MAGIC = (
    "from IPython.core.magic import register_line_magic\ndef make(k):\n    @register_line_magic\n"
    "    def nbrw_times(line):\n        return int(line) * k\nmake(3)",
    "%nbrw_times 4",
)

CONTEXT = SaveContext({}, MemoryStore())

#: Cells, which one is edited, what of it to what, and what becomes of the cells.
EDITS = {
    "a format": (STREAM, 2, "%(levelname)s ", "", "rXXXX"),
    "nothing of it": (STREAM, 2, "buffer =", "more = 1\nbuffer =", "rXrrr"),
    "a level": (STREAM, 2, "setLevel(20)", "setLevel(10)", "rXXXX"),
    "a message to a stream": (STREAM, 3, "1", "7", "rXXXX"),
    "a message to a handler of one's own": (OWN, 2, "1", "7", "XXXX"),
    "the level of a handler of one's own": (OWN, 1, "setLevel(20)", "setLevel(10)", "XXXX"),
    "a message to a handler that fills a global": (GLOBAL, 2, "1", "7", "XXXX"),
    "a function's message": (GLOBAL, 3, "work %d", "did %d", "XrXX"),
    "a call of a function that logs": (GLOBAL, 3, "work(3)", "work(4)", "XrXX"),
    "a level beside what cannot be stored": (BESIDE, 2, "20", "10", "XXX"),
    "the level of a logger with a filter": (FILTER, 1, "setLevel(20)", "setLevel(10)", "XX"),
    "how objects are shown": (SHOWN, 2, ".2f", ".1f", "rXX"),
    "a magic with a memory": (MAGIC, 1, "make(3)", "make(5)", "XX"),
}  # fmt: skip


@pytest.fixture
def forgotten():
    """Loggers are the process's: those of a test are as new for the next run."""

    def forget():
        for name in [name for name in logging.root.manager.loggerDict if "nbrw_lost" in name]:
            del logging.root.manager.loggerDict[name]

    yield forget
    forget()


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_what_cannot_be_stored_reaches_the_cells_that_it_matters_to(
    name, tmp_path, forgotten
):
    """The repeat's outputs are those of a run from the top."""
    before, number, old, new, expected = EDITS[name]
    assert old in before[number - 1]
    after = [*before]
    after[number - 1] = after[number - 1].replace(old, new)
    recipe, store = audit(tmp_path / "audit", before)
    forgotten()
    same = Repeat(tmp_path / "same", recipe, store, before)
    assert set(same.actions) == {"r"}, same.report
    forgotten()
    repeat = Repeat(tmp_path / "repeat", recipe, store, after)
    forgotten()
    assert repeat.outputs == plain_run(tmp_path / "plain", after), repeat.report
    assert repeat.actions == expected, [(c.cell, c.reason) for c in repeat.report]


def test_state_of_which_nothing_can_be_told_is_like_that_of_no_other_process():
    """It says why it cannot be stored, as its provider does."""
    lost = Lost("it is a lock that is held", content=[1, (n for n in ())])
    found = dump({"<nbrw:x>": lost}, CONTEXT)
    plain = dump({"<nbrw:x>": Lost(lost.reason)}, CONTEXT)
    assert b"it is a lock that is held" in found.payload
    assert found.identity() != plain.identity()


def test_what_a_library_keeps_in_a_handler_tells_it_from_others():
    """Beside what threads have of their own, which cannot be stored, and when it was used last."""

    def identity(handler):
        lost = Lost("it is rich's", content=[handler])
        return dump({"<nbrw:x>": lost}, CONTEXT).identity()

    assert identity(RichHandler()) == identity(RichHandler())
    assert identity(RichHandler()) != identity(RichHandler(show_time=False))
    narrow, wide = (RichHandler(console=Console(width=width, quiet=True)) for width in (80, 90))
    for handler in (narrow, wide):
        handler.handle(logging.makeLogRecord({"msg": "one"}))
    before = identity(narrow)
    narrow.handle(logging.makeLogRecord({"msg": "another", "created": 1e9}))
    assert identity(narrow) == before != identity(wide)
