"""Which modules lead to which; how kernels see them is in `test_own_modules.py`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbrw_runtime.local_modules import closures
from nbrw_runtime.names import reach

_NAMES = st.sampled_from("abcdefgh")


@given(st.dictionaries(_NAMES, st.frozensets(_NAMES)))
def test_a_module_leads_to_all_that_those_lead_to_which_it_uses(uses):
    every = {
        name: uses.get(name, frozenset()) for name in {*uses, *frozenset().union(*uses.values())}
    }
    assert closures(every) == {name: sorted(reach([name], every)) for name in every}
