"""Start a program under the tracer: ``python -m nbrw_builder.tracer --out DIR -- PROGRAM ARG...``.

The calling process becomes the program and so keeps the process id that its starter knows; the
tracer is a detached grandchild which lives as long as anything it traces. Where the host forbids
tracing, the program starts all the same, with ``NBRW_AUDIT_HOOK`` set, and the kernel's launcher
falls back to Python's audit hook.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nbrw_runtime.seccomp import install

_PR_SET_PTRACER = 0x59616D61
FALLBACK_VARIABLE = "NBRW_AUDIT_HOOK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the traced program; returns only if it cannot be executed."""
    parser = argparse.ArgumentParser(prog="python -m nbrw_builder.tracer", description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="directory of the trace files")
    parser.add_argument("--written", type=Path, help="directory of each cell's file list")
    parser.add_argument("--number", type=int, default=1, help="of the trace, if it is free")
    parser.add_argument("--ignore", action="append", default=[], help="path that is not traced")
    parser.add_argument(
        "--worker", action="store_true", help="a Dask worker: it reads its trace, which then goes"
    )
    parser.add_argument("program", nargs="+", help="program and arguments, after --")
    options = parser.parse_args(arguments)
    out = Path(os.path.abspath(options.out))
    out.mkdir(parents=True, exist_ok=True)
    written = Path(os.path.abspath(options.written)) if options.written else None
    trace = _reserve(out, options.number, ".jsonl" if options.worker else ".jsonl.zst")
    if options.worker:
        from nbrw_runtime.worker_witness import VARIABLE

        os.environ[VARIABLE] = str(trace)
    refused = _start_tracer(trace, written, options.ignore, options.program, options.worker)
    if refused is not None:
        trace.unlink(missing_ok=True)
        if options.worker:
            shutil.rmtree(out, ignore_errors=True)
        os.environ[FALLBACK_VARIABLE] = json.dumps(
            {
                "trace": str(trace.with_suffix("")),
                "written": str(written) if written else "",
                "ignore": options.ignore,
                "reason": refused,
            }
        )
    try:
        os.execvp(options.program[0], options.program)
    except OSError as error:
        print(f"nbrw: start {options.program[0]}: {error.strerror}", file=sys.stderr)
        return 127


def _reserve(out: Path, number: int, suffix: str) -> Path:
    """The first free trace file from this number on, made so that no other run takes it."""
    while True:
        path = out / f"{number:04d}{suffix}"
        if not (out / f"{number:04d}.jsonl").exists():
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
                return path
        number += 1


def _start_tracer(
    trace: Path,
    written: Path | None,
    ignored: Sequence[str],
    argv: Sequence[str],
    worker: bool,
) -> str | None:
    """Fork the tracer and let it attach to this process; returns why it could not, or None."""
    kernel = os.getpid()
    to_tracer, to_kernel = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        # Whatever happens here, this copy of the process must not go on as the kernel.
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.close(to_tracer[1])
            os.close(to_kernel[0])
            _trace(kernel, trace, written, ignored, argv, to_tracer[0], to_kernel[1], worker)
        finally:
            os._exit(1)
    os.close(to_tracer[0])
    os.close(to_kernel[1])
    os.waitpid(child, 0)
    try:
        greeting = os.read(to_kernel[0], 4096)
        if not greeting:
            return "the tracer did not start"
        tracer, *numbers = json.loads(greeting)
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(tracer), 0, 0, 0)
        os.write(to_tracer[1], b"x")
        answer = os.read(to_kernel[0], 4096)
    except OSError as error:
        return f"the tracer did not start: {error}"
    finally:
        os.close(to_kernel[0])
        os.close(to_tracer[1])
    if answer != b"ok":
        return answer.decode("utf-8", "replace") or "the tracer did not attach"
    try:
        install(numbers)
    except OSError as error:
        return str(error)
    return None


def _trace(
    kernel: int,
    trace: Path,
    written: Path | None,
    ignored: Sequence[str],
    argv: Sequence[str],
    from_kernel: int,
    to_kernel: int,
    worker: bool,
) -> None:
    """The tracer's life."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    # Imported before the start: it takes a while, and finds libc by starting ldconfig.
    from nbrw_builder.stop_decoder import Decoder
    from nbrw_builder.syscalls import traced_calls
    from nbrw_builder.trace_writer import TraceWriter
    from nbrw_builder.tracer_loop import TracerLoop, clock, seize, write_window
    from nbrw_runtime.trace import Header

    calls = traced_calls()
    names = tuple(sorted(calls.values()))
    header = Header("ptrace", kernel, str(Path.cwd()), tuple(argv), names, time.time())
    writer = TraceWriter(trace, header, plain=worker)
    writer.flush()
    os.write(to_kernel, json.dumps([os.getpid(), *calls]).encode())
    if os.read(from_kernel, 1) != b"x":
        return
    try:
        seize(kernel)
    except OSError as error:
        os.write(to_kernel, f"{error.strerror or error}".encode())
        return
    os.write(to_kernel, b"ok")
    os.close(to_kernel)
    os.close(from_kernel)
    os.chdir("/")

    def done() -> None:
        trace.with_name(trace.name.split(".")[0] + ".done").touch()

    decoder = Decoder(
        kernel,
        writer,
        clock(),
        ignored,
        trace.parent / "preserved",
        lambda cell, value: write_window(written, cell, value),
        all_mark=worker,
    )
    try:
        TracerLoop(kernel, calls, writer, decoder, done).run()
    finally:
        writer.close()
        done()
        if worker:
            shutil.rmtree(trace.parent, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
