"""Who waits for a module is told when it is loaded."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

from nbrw_runtime.import_watch import when_loaded


@pytest.fixture
def waited(tmp_path, monkeypatch):
    """The name of a module that is there to be loaded, and its file."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    name = "nbrw_waited_for"
    file = tmp_path / f"{name}.py"
    file.write_text("value = 1\n")
    yield name, file
    sys.modules.pop(name, None)


def test_all_who_wait_are_told_in_their_order_once_it_is_loaded(waited):
    """And at once if it is loaded already."""
    told = []
    when_loaded(waited[0], lambda module: told.append(("first", module.value)))
    when_loaded(waited[0], lambda module: told.append(("second", module.value)))
    assert not told
    module = importlib.import_module(waited[0])
    assert told == [("first", 1), ("second", 1)]
    when_loaded(waited[0], told.append)
    assert told[2:] == [module]


def test_who_asks_whether_there_is_a_module_does_not_load_it(waited):
    """Many libraries ask so for others."""
    told = []
    when_loaded(waited[0], told.append)
    for _ in range(2):
        assert importlib.util.find_spec(waited[0]).origin == str(waited[1])
    assert not told
    assert [importlib.import_module(waited[0])] == told


def test_a_module_that_fails_is_waited_for_further(waited):
    """It may be mended, and loaded then."""
    name, file = waited
    told = []
    file.write_text("1 / 0\n")
    when_loaded(name, told.append)
    with pytest.raises(ZeroDivisionError):
        importlib.import_module(name)
    assert not told
    file.write_text("value = 2222\n")
    importlib.invalidate_caches()
    assert [importlib.import_module(name)] == told
