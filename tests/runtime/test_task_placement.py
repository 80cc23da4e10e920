"""Workers that a notebook asks for, where a repeat's cluster may lack them."""

from types import SimpleNamespace

import pytest

from nbrw_runtime.task_placement import possible_annotations, possible_options


def client(dozes=False, **named):
    """Of a cluster whose workers have these names."""
    cluster = SimpleNamespace(worker_spec=dict.fromkeys(named.get("spec", ())))
    if dozes:
        cluster._nbrw_dozes = True
    workers = {"tcp://10.0.0.5:7000": {"name": "here"}} if not dozes else {}
    return SimpleNamespace(cluster=cluster, _scheduler_identity={"workers": workers})


@pytest.mark.parametrize("wanted", [["here"], "tcp://10.0.0.5:7000", ["gone", "10.0.0.5"]])
def test_workers_that_are_there_are_asked_for_as_the_notebook_says(wanted):
    """By name, address or host; nothing is noted."""
    notes = []
    options = {"workers": wanted, "priority": 3}
    assert possible_options(client(), options, notes.append) == options
    assert notes == []


@pytest.mark.parametrize("wanted", [["gone"], "tcp://10.0.0.9:7000", 4])
def test_workers_that_are_not_there_are_not_waited_for(wanted):
    """Any worker does, and the report says so; all else stays."""
    notes = []
    found = possible_options(client(), {"workers": wanted, "priority": 3}, notes.append)
    assert found == {"workers": None, "allow_other_workers": None, "priority": 3}
    assert len(notes) == 1 and "lacks" in notes[0]


def test_preferred_workers_are_not_preferred_while_none_has_been_started():
    """Dask would keep such a task waiting also when workers come. That needs no note."""
    notes = []
    options = {"workers": [0], "allow_other_workers": True}
    found = possible_options(client(dozes=True, spec=[0, 1]), options, notes.append)
    assert found == {"workers": None, "allow_other_workers": None} and notes == []
    firm = {"workers": [0]}
    assert possible_options(client(dozes=True, spec=[0, 1]), firm, notes.append) == firm


def test_annotations_are_judged_task_by_task():
    """Those of others stay as they are."""
    notes = []
    annotations = {
        "workers": {"a": ["here"], "b": ["gone"]},
        "allow_other_workers": {"b": True},
        "priority": {"b": 1},
    }
    found = possible_annotations(client(), annotations, notes.append)
    assert found == {"workers": {"a": ["here"]}, "priority": {"b": 1}} and notes == []
