"""The garbage collector pauses while a state is looked at."""

from __future__ import annotations

import gc

import pytest

from nbrw_runtime.gc_paused import gc_paused


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
