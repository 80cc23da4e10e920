"""The garbage collector pauses while a state is looked at."""

from __future__ import annotations

import gc
import weakref

import pytest

from nbrw_runtime.gc_paused import gc_paused, grown_up


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_pauses_in_the_block_and_is_as_before_after_it(enabled):
    """Also after an error, and where a notebook switched it off itself."""
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(KeyError), gc_paused():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_what_was_restored_is_not_looked_through_at_once_but_may_be_collected():
    """Objects made in the block are old after it, and garbage among them goes as ever."""

    class Circle:
        def __init__(self):
            self.me = self

    with gc_paused():
        made = [Circle() for _ in range(1000)]
        assert any(obj is made[0] for obj in gc.get_objects(generation=0))
        grown_up()
    assert any(obj is made[0] for obj in gc.get_objects(generation=2))
    gone = weakref.ref(made[0])
    del made
    gc.collect()
    assert gone() is None


def test_what_a_notebook_has_frozen_stays_frozen():
    gc.freeze()
    try:
        with gc_paused():
            before = gc.get_freeze_count()
            grown_up()
            assert gc.get_freeze_count() == before > 0
    finally:
        gc.unfreeze()
