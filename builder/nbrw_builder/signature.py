"""What can be said of an image's signatures. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nbrw_runtime.errors import EXIT_INTEGRITY, NbrwError

VALID, INVALID, UNCHECKED = "valid", "invalid", "not checked"


class SignatureError(NbrwError):
    """An image is not signed as it should be."""

    exit_code = EXIT_INTEGRITY


@dataclass(frozen=True)
class Signature:
    """One signature. ``kind`` is ``PEM`` or ``PGP`` (in a SIF), or ``cosign``; ``state`` one of
    ``valid`` (checked with a key that the caller trusts, and it covers the whole image),
    ``invalid``, ``not checked``. ``by`` is who made it: proven if valid, else as it says itself;
    empty if it does not. ``detail`` says why, in words.
    """

    kind: str
    state: str
    by: str = ""
    detail: str = ""

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        words = {
            VALID: f"signed{by} ({self.kind}), checked",
            INVALID: f"INVALID signature{by} ({self.kind})",
            UNCHECKED: f"a signature{by} ({self.kind}) that was not checked",
        }[self.state]
        return f"{words}: {self.detail}" if self.detail else words


def no_key(keys: Sequence[object]) -> str:
    """Why a signature was not checked with keys."""
    return "it is by none of the keys given" if keys else "give the public key to check it"


def statement(found: Sequence[Signature]) -> str:
    """One line on all signatures of an image."""
    if not found:
        return "the image is not signed"
    return "; ".join(map(str, sorted(found, key=lambda s: (s.state != INVALID, s.state != VALID))))
