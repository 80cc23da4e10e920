"""Finding the kernel that a notebook is audited with."""

import json
import sys

import pytest

from nbrw_builder.errors import HostError
from nbrw_builder.kernelspec import find_kernel, traced_spec
from nbrw_runtime.errors import UsageError


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """Installs kernelspecs: kernels(name, argv, env)."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def install(name, argv, env=None):
        place = tmp_path / "kernels" / name
        place.mkdir(parents=True)
        spec = {"argv": argv, "display_name": name, "language": "python", "env": env or {}}
        (place / "kernel.json").write_text(json.dumps(spec))

    return install


def notebook(name):
    """A notebook that names this kernel."""
    return {"metadata": {"kernelspec": {"name": name}}, "cells": []}


LAUNCH = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


def test_the_notebook_names_its_kernel(kernels):
    """Without -k the notebook's own kernelspec is taken, with its interpreter and variables."""
    kernels("mine", [sys.executable, "-X", "dev", *LAUNCH, "--matplotlib=agg"], {"A": "b"})
    kernel = find_kernel(notebook("mine"), None)
    assert kernel.python == sys.executable
    assert kernel.options == ("-X", "dev")
    assert kernel.arguments == ("--matplotlib=agg",)
    assert kernel.variables == {"A": "b"}


def test_a_kernel_asked_for_comes_before_the_notebooks(kernels):
    """-k decides."""
    kernels("mine", [sys.executable, *LAUNCH])
    assert find_kernel(notebook("not-there"), "mine").name == "mine"


def test_a_python_can_be_named_by_its_path():
    """-k /path/to/python needs no kernelspec."""
    assert find_kernel(notebook("not-there"), sys.executable).python == sys.executable


def test_a_bare_python_means_the_one_that_asks(kernels):
    """As jupyter_client does, not whatever PATH has."""
    kernels("bare", ["python3", *LAUNCH])
    assert find_kernel(notebook("bare"), None).python == sys.executable


def test_a_missing_kernel_is_named_with_those_that_are_there(kernels):
    """The message says who asked for it, what there is, and what to do."""
    kernels("mine", [sys.executable, *LAUNCH])
    with pytest.raises(UsageError, match=r"julia, that the notebook names.*mine.*-k"):
        find_kernel(notebook("julia"), None)


def test_a_kernel_that_is_not_ipykernel_is_refused(kernels):
    """Only ipykernel can be audited."""
    kernels("r", ["R", "--slave", "-e", "IRkernel::main()"])
    with pytest.raises(UsageError, match="not Python's ipykernel"):
        find_kernel(notebook("r"), None)


def test_a_kernel_whose_program_is_gone_is_refused(kernels, tmp_path):
    """A kernelspec outlives its environment often."""
    kernels("old", [str(tmp_path / "env/bin/python"), *LAUNCH])
    with pytest.raises(HostError, match="is not there"):
        find_kernel(notebook("old"), None)


def test_the_tracer_starts_the_kernels_own_python(kernels, tmp_path):
    """The traced command ends with the notebook's interpreter, its options and the launcher."""
    kernels("mine", [sys.executable, "-X", "dev", *LAUNCH, "--matplotlib=agg"])
    spec = traced_spec(find_kernel(notebook("mine"), None), tmp_path, tmp_path / "session.json")
    launched = spec.argv[spec.argv.index("--") + 1 :]
    assert launched[:3] == [sys.executable, "-X", "dev"]
    assert launched[3].endswith("nbrw_runtime/launch.py")
    at = launched.index("-f")
    assert launched[at : at + 3] == ["-f", "{connection_file}", "--matplotlib=agg"]
    assert spec.env == {}
