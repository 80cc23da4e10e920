"""Which kernel a notebook is audited with, and how it is started under the tracer."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from nbrw_builder.errors import HostError
from nbrw_runtime.errors import UsageError

#: Modules that start ipykernel with ``python -m``.
_LAUNCHERS = ("ipykernel_launcher", "ipykernel", "ipykernel.kernelapp")

# `-m` would search the notebook's directory first, where a file may be called as one of ours.
_TRACER = (
    "import sys; sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]; "
    "from nbrw_builder.tracer import main; sys.exit(main())"
)


@dataclass(frozen=True)
class Kernel:
    """A Python kernel of the host.

    ``python`` is the interpreter as the kernelspec names it (absolute, links not resolved),
    ``options`` are the interpreter's own, ``arguments`` go to ipykernel after the connection file.
    """

    name: str
    python: str
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    interrupt_mode: str = "signal"

    @property
    def argv(self) -> tuple[str, ...]:
        """The argument vector of the kernel without nbrw."""
        head = (self.python, *self.options, "-m", "ipykernel_launcher", "-f", "{connection_file}")
        return head + self.arguments


def find_kernel(notebook: Mapping[str, Any], wanted: str | None) -> Kernel:
    """The kernel asked for (a kernelspec's name, or the path of a Python), else the notebook's own.

    Raises UsageError if there is no such kernel or it is not ipykernel, HostError if its program
    is gone.
    """
    named = notebook.get("metadata", {}).get("kernelspec", {}).get("name")
    name = wanted or named or "python3"
    if os.sep in name:
        python = os.path.abspath(name)
        if not os.access(python, os.X_OK):
            raise UsageError(f"find kernel {name}: there is no such program")
        return Kernel(name, python)
    manager = KernelSpecManager()
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel as error:
        there = ", ".join(sorted(manager.find_kernel_specs())) or "none"
        source = "asked for" if wanted else "that the notebook names"
        raise UsageError(
            f"find kernel {name}, {source}: not installed here (there are: {there}); "
            "name one with -k, or the Python to use: -k /path/to/env/bin/python"
        ) from error
    return _from_spec(name, spec)


def _from_spec(name: str, spec: KernelSpec) -> Kernel:
    argv = list(spec.argv)
    module = next((i for i, word in enumerate(argv) if word == "-m"), None)
    if module is None or module + 1 >= len(argv) or argv[module + 1] not in _LAUNCHERS:
        raise UsageError(
            f"audit with kernel {name}: it starts {' '.join(argv[:3])}, not Python's ipykernel, "
            "the only one that is audited; name another with -k"
        )
    rest = argv[module + 2 :]
    arguments = [
        word
        for before, word in zip([""] + rest, rest, strict=False)
        if word != "-f" and before != "-f" and "{connection_file}" not in word
    ]
    python = argv[0]
    if python in ("python", "python3", f"python3.{sys.version_info.minor}"):
        # As jupyter_client does: the Python that asks, not whatever PATH has.
        python = sys.executable
    elif os.sep not in python:
        python = shutil.which(python) or python
    if not os.access(python, os.X_OK):
        raise HostError(
            f"start kernel {name}: its program {python} is not there; install the kernel again, "
            "or name another with -k"
        )
    return Kernel(
        name,
        os.path.abspath(python),
        tuple(argv[1:module]),
        tuple(arguments),
        dict(spec.env),
        spec.interrupt_mode or "signal",
    )


def _builder_root() -> Path:
    return Path(__file__).resolve().parent.parent


def runtime_root() -> Path:
    """The directory that holds the package ``nbrw_runtime``."""
    import nbrw_runtime

    return Path(nbrw_runtime.__file__).resolve().parent.parent


def fallback_roots() -> tuple[str, ...]:
    """The directories that hold dill and cloudpickle, for kernels whose environment lacks them."""
    import cloudpickle
    import dill

    places = (str(Path(module.__file__).parent.parent) for module in (dill, cloudpickle))
    return tuple(dict.fromkeys(places))


def traced_spec(kernel: Kernel, audit: Path, session: Path, number: int = 1) -> KernelSpec:
    """The kernelspec ``nbrw-audit`` for one audit: the kernel's own, started by the tracer.

    ``number`` is that of its trace.
    """
    trace = audit / "trace"
    runtime = runtime_root()
    launch = [kernel.python, *kernel.options, str(runtime / "nbrw_runtime" / "launch.py")]
    for root in fallback_roots():
        launch += ["--fallback", root]
    launch += ["--session", str(session), "-f", "{connection_file}", *kernel.arguments]
    # The author's history is neither written to nor read.
    launch.append("--HistoryManager.hist_file=:memory:")
    argv = [
        *(sys.executable, "-I", "-c", _TRACER, str(_builder_root()), str(runtime)),
        *("--out", str(trace), "--number", str(number), "--written", str(trace / "written")),
        *("--ignore", str(audit), "--ignore", str(runtime / "nbrw_runtime")),
        *("--", *launch),
    ]
    return KernelSpec(
        argv=argv,
        display_name=f"{kernel.name} (audited by nbrw)",
        language="python",
        env=dict(kernel.variables),
        interrupt_mode=kernel.interrupt_mode,
    )
