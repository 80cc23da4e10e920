"""Where the tasks of a repeat run: what ``--cluster`` and the options beside it say. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nbrw_runtime.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(i?)[bB]?")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d{1,2}))?(?::(\d{1,2}))?")
_SPAN = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# What goes to a batch system stands in a script that a shell reads.
_WORD = re.compile(r"[A-Za-z0-9_.,:=@/+-]+")
_FILE = "scheduler-file:"
#: Where the image prints a script or manifests instead, as nothing can be submitted from inside it.
_PRINTED = {
    "pbs": "pbs-script", "lsf": "lsf-script", "sge": "sge-script", "kubernetes": "kubernetes",
}  # fmt: skip


@dataclass(frozen=True)
class ClusterChoice:
    """``kind`` is ``local``, ``address``, ``file``, ``slurm`` or ``as-written``.

    ``place`` is the address of a scheduler, or the file that it wrote.
    """

    kind: str = "local"
    place: str = ""


@dataclass(frozen=True)
class WorkerRequest:
    """What workers are asked for; 0 and empty: nothing was said.

    ``workers`` are processes, ``most`` is above it if they may become more; ``cores`` and
    ``memory`` (bytes) are of each, ``walltime`` is in seconds.
    """

    workers: int = 0
    most: int = 0
    cores: int = 0
    memory: int = 0
    walltime: int = 0
    queue: str = ""
    account: str = ""
    interface: str = ""


def parse_cluster(text: str) -> ClusterChoice:
    """The choice that ``--cluster`` names. Raises UsageError."""
    if text in ("local", "slurm", "as-written"):
        return ClusterChoice(text)
    if text.startswith(("tcp://", "tls://")):
        host, colon, port = text[6:].rpartition(":")
        if host and colon and port.isdigit():
            return ClusterChoice("address", text)
        raise UsageError(f"--cluster {text}: no address; write HOST:PORT after {text[:6]}")
    if text.startswith(_FILE) and text != _FILE:
        return ClusterChoice("file", text[len(_FILE) :])
    if text in _PRINTED:
        raise UsageError(
            f"--cluster {text}: nothing can be submitted from inside the image; print the job with "
            f"`{_PRINTED[text]}` and submit that"
        )
    raise UsageError(
        f"--cluster {text}: not one of local, tcp://HOST:PORT, tls://HOST:PORT, "
        "scheduler-file:PATH, slurm, as-written"
    )


def parse_workers(text: str) -> tuple[int, int]:
    """How many workers at least and at most, of ``4`` or ``0-8``. Raises UsageError."""
    first, dash, last = text.partition("-")
    if first.isdigit() and (last.isdigit() if dash else int(first)):
        least, most = int(first), int(last) if dash else int(first)
        if most >= max(least, 1):
            return least, most
    raise UsageError(f"--workers {text}: not a number above 0, nor a range such as 0-8")


def parse_memory(text: str) -> int:
    """Bytes, of ``4GB``, ``4G``, ``512MiB``. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--memory {text}: not a size such as 4GB or 512MiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].upper()])


def parse_walltime(text: str) -> int:
    """Seconds, of ``90m``, ``2h``, ``1:30:00``, ``1-00:00:00``, or minutes. Raises UsageError."""
    span, clock = _SPAN.fullmatch(text), _CLOCK.fullmatch(text)
    found = 0
    if span is not None:
        found = int(span[1]) * _SECONDS[span[2]]
    elif clock is not None:
        days, parts = clock[1], [int(part) for part in clock.groups()[1:] if part is not None]
        # As Slurm reads it: minutes, MM:SS, H:MM:SS; after days D-H, D-H:MM, D-H:MM:SS.
        units = (3600, 60, 1) if days is not None or len(parts) == 3 else (60, 1)
        found = sum(n * unit for n, unit in zip(parts, units, strict=False))
        found += int(days or 0) * 86400
    if not found:
        raise UsageError(f"--walltime {text}: not a time such as 90m, 2h or 1:30:00")
    return found


def parse_word(option: str, text: str) -> str:
    """A name that a batch system is given. Raises UsageError if a shell might read more in it."""
    if _WORD.fullmatch(text) is None:
        raise UsageError(f"{option} {text!r}: only letters, digits and _.,:=@/+- may be in it")
    return text


def clock(seconds: int) -> str:
    """A time as all batch systems read it: ``H:MM:SS``."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
