"""What became of each blob of a push or pull, and what that saved. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nbrw_builder.registry.descriptor import Blob
from nbrw_runtime.units import human_size


class State(str, enum.Enum):
    """What was done with a blob."""

    SENT = "sent"
    FETCHED = "fetched"
    MOUNTED = "mounted"  # the registry took it from another repository of its own
    PRESENT = "present"
    LEFT = "left"  # a repeat from the cell asked for does not need it


@dataclass(frozen=True)
class Moved:
    """A blob and what became of it; ``travelled`` are bytes that went over the network for it,
    ``resumed`` those that an earlier, interrupted transfer had brought.
    """

    blob: Blob
    state: State
    travelled: int = 0
    resumed: int = 0


@dataclass(frozen=True)
class Account:
    """The result of a push or pull. ``referrers`` are the kinds (artifactType) of what refers to
    the image and came along.
    """

    act: str
    reference: str
    digest: str
    moved: tuple[Moved, ...]
    seconds: float
    out: str = ""
    referrers: tuple[str, ...] = ()

    @property
    def travelled(self) -> int:
        """Bytes of blobs that went over the network."""
        return sum(found.travelled for found in self.moved)

    @property
    def saved(self) -> int:
        """Bytes of blobs that did not."""
        return max(0, sum(found.blob.size for found in self.moved) - self.travelled)


def as_json(account: Account) -> dict[str, Any]:
    """For scripts: format ``nbrw.push`` or ``nbrw.pull``, version 1; bytes and seconds."""
    return {
        "format": f"nbrw.{account.act}",
        "version": 1,
        "reference": account.reference,
        "digest": account.digest,
        **({"out": account.out} if account.out else {}),
        "travelled": account.travelled,
        "saved": account.saved,
        "seconds": round(account.seconds, 3),
        "referrers": list(account.referrers),
        "blobs": [
            {
                "digest": str(found.blob.digest),
                "name": found.blob.name,
                "size": found.blob.size,
                "state": found.state.value,
                "travelled": found.travelled,
                "resumed": found.resumed,
            }
            for found in account.moved
        ],
    }


def lines(account: Account, each: bool = False) -> list[str]:
    """For a person; ``each``: with a line for every blob that travelled."""
    done = "sent" if account.act == "push" else "fetched"
    said = []
    if each:
        said = [
            f"{found.state.value:8} {human_size(found.blob.size):>10}  "
            f"{found.blob.name or str(found.blob.digest)[:19]}"
            for found in account.moved
            if found.travelled
        ]
    parts = [f"{done} {human_size(account.travelled)}"]
    kept = [
        (State.PRESENT, "there already"),
        (State.MOUNTED, "mounted"),
        (State.LEFT, "not needed"),
    ]
    for state, words in kept:
        some = [found for found in account.moved if found.state is state]
        if some:
            parts.append(f"{_total(some)} {words}")
    resumed = sum(found.resumed for found in account.moved)
    if resumed:
        parts.append(f"{human_size(resumed)} from an interrupted {account.act}")
    share = _share(account)
    said.append(f"{account.reference}: {', '.join(parts)}{share}")
    if account.referrers:
        said.append(f"with what refers to it: {', '.join(account.referrers)}")
    return said


def _total(moved: Iterable[Moved]) -> str:
    return human_size(sum(found.blob.size for found in moved))


def _share(account: Account) -> str:
    total = account.travelled + account.saved
    return f" ({100 * account.travelled / total:.1f} % of the image)" if total else ""
