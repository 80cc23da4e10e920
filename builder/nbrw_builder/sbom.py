"""Bills of materials: which formats there are, and what a document is about. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbrw_builder.components import Component
from nbrw_builder.sbom_cyclonedx import cyclonedx
from nbrw_builder.sbom_spdx import spdx
from nbrw_runtime.digest import digest_bytes

#: The time of all files in an image, and of documents that nobody gives another.
NO_TIME = "1980-01-02T00:00:00Z"
_NAMESPACE = uuid.UUID("6a6c1a52-5f0c-5d2e-9a55-3a8a1d2f7b11")


@dataclass(frozen=True)
class Subject:
    """The image that a document is about: its title, its recipe's digest (hex), the document's time
    (RFC 3339) and the nbrw that writes it.
    """

    title: str
    recipe: str
    created: str
    tool: str

    def identifier(self, kind: str) -> uuid.UUID:
        """One that equal images have in common, another for each kind of document."""
        return uuid.uuid5(_NAMESPACE, f"{kind} {self.recipe} {self.created}")


@dataclass(frozen=True)
class SbomFormat:
    """A format: its name, the usual end of a file's name, its media type, and SIF's number for it
    (sylabs/sif, `SBOMFormat`).
    """

    name: str
    suffix: str
    media_type: str
    sif_number: int
    make: Callable[[Subject, tuple[Component, ...]], dict[str, Any]]

    def document(self, subject: Subject, found: tuple[Component, ...]) -> bytes:
        """The document's bytes; equal arguments give equal bytes."""
        value = self.make(subject, found)
        return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _spdx(subject: Subject, found: tuple[Component, ...]) -> dict[str, Any]:
    return spdx(subject.title, found, subject.created, subject.tool, subject.identifier("spdx"))


def _cyclonedx(subject: Subject, found: tuple[Component, ...]) -> dict[str, Any]:
    created = "" if subject.created == NO_TIME else subject.created
    identifier = subject.identifier("cyclonedx")
    return cyclonedx(subject.title, found, created, subject.tool, identifier)


FORMATS = {
    known.name: known
    for known in (
        SbomFormat("spdx", ".spdx.json", "application/spdx+json", 4, _spdx),
        SbomFormat("cyclonedx", ".cdx.json", "application/vnd.cyclonedx+json", 1, _cyclonedx),
    )
}


def subject_of(title: str, recipe: bytes, tool: str, created: str = NO_TIME) -> Subject:
    """The subject with the digest of a recipe's bytes."""
    return Subject(title or "notebook", digest_bytes(recipe).hex, created, tool)
