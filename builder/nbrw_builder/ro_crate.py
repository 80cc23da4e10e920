"""What research object crates are made of: entities of a graph, files by content, people. Pure.

Source: RO-Crate 1.1; Process, Workflow and Provenance Run Crate 0.5.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nbrw_runtime.digest import Digest

METADATA = "ro-crate-metadata.json"
ROOT = "./"
CONTEXT = [
    "https://w3id.org/ro/crate/1.1/context",
    "https://w3id.org/ro/terms/workflow-run/context",
]
_WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    _WORKFLOW_CRATE: "Workflow RO-Crate",
}
_STATUS = "http://schema.org/{}ActionStatus"

_BYTES = "application/octet-stream"
_FORMATS = {
    "csv": "text/csv",
    "h5": "application/x-hdf5",
    "html": "text/html",
    "jpg": "image/jpeg",
    "json": "application/json",
    "nc": "application/x-netcdf",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "zip": "application/zip",
}

Entity = dict[str, Any]


def ref(identifier: str) -> dict[str, str]:
    """A reference to an entity."""
    return {"@id": identifier}


def refs(identifiers: Iterable[str]) -> list[dict[str, str]]:
    """References to entities, each once."""
    return [ref(identifier) for identifier in dict.fromkeys(identifiers)]


@dataclass(frozen=True)
class Person:
    """Somebody: ``identifier`` is an address such as that of an ORCID, or empty."""

    name: str
    identifier: str = ""

    @classmethod
    def parse(cls, text: str) -> Person:
        """From ``Ada Lovelace`` or ``Ada Lovelace <https://orcid.org/0000-...>``."""
        found = re.fullmatch(r"\s*(.*?)\s*(?:<(https?://[^<>\s]+)>)?\s*", text)
        assert found is not None  # every part may be empty
        return cls(found[1], found[2] or "")


@dataclass
class Graph:
    """Entities by their identifier, in the order in which they came."""

    entities: dict[str, Entity] = field(default_factory=dict)

    def add(self, at: str, kind: str | list[str], **properties: Any) -> str:
        """Add an entity, unless it is there; properties without a value are left out."""
        kept = {name: value for name, value in properties.items() if value not in ("", None, [])}
        self.entities.setdefault(at, {"@id": at, "@type": kind, **kept})
        return at

    def add_to(self, identifier: str, name: str, other: str) -> None:
        """Add a reference to those that a property has."""
        found = self.entities[identifier].setdefault(name, [])
        if ref(other) not in found:
            found.append(ref(other))

    def person(self, person: Person) -> str:
        """The entity of a person."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", person.name).strip("-")
        return self.add(person.identifier or f"#person-{slug}", "Person", name=person.name)

    def content(self, path: str, digest: Digest, size: int | None = None) -> str:
        """A file that the crate does not hold, by what is in it (RFC 6920); ``path``: its name."""
        text = base64.urlsafe_b64encode(bytes.fromhex(digest.hex)).decode().rstrip("=")
        identifier = self.add(
            f"ni:///sha-256;{text}",
            "File",
            name=path.rpartition("/")[2],
            encodingFormat=_FORMATS.get(path.rpartition(".")[2].lower(), _BYTES),
            sha256=digest.hex,
            contentSize=None if size is None else str(size),
            alternateName=[],
        )
        names = self.entities[identifier].setdefault("alternateName", [])
        if path not in names:
            names.append(path)
        return identifier

    def action(self, identifier: str, failed: bool = False, **properties: Any) -> str:
        """Something that was done: a CreateAction."""
        status = _STATUS.format("Failed" if failed else "Completed")
        return self.add(identifier, "CreateAction", actionStatus=status, **properties)

    def took(self, identifier: str, seconds: float) -> str:
        """How long something took."""
        return self.add(
            identifier,
            "PropertyValue",
            name="duration",
            propertyID="https://schema.org/duration",
            value=f"{seconds:.6f}",
            unitCode="https://qudt.org/vocab/unit/SEC",
        )

    def document(self) -> dict[str, Any]:
        """The JSON-LD document."""
        entities = [
            # A list of one is written as the one, as RO-Crate asks.
            {name: value[0] if _is_single(value) else value for name, value in entity.items()}
            for entity in self.entities.values()
        ]
        return {"@context": CONTEXT, "@graph": entities}


def _is_single(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1


def begin(title: str, description: str, published: str, licence: str) -> Graph:
    """A graph with the crate itself. Without a licence it says that none was stated."""
    graph = Graph()
    graph.add(
        METADATA,
        "CreativeWork",
        about=ref(ROOT),
        conformsTo=refs(["https://w3id.org/ro/crate/1.1", _WORKFLOW_CRATE]),
    )
    is_address = licence.startswith(("http://", "https://"))
    identifier = licence if is_address else "#licence"
    graph.add(
        ROOT,
        "Dataset",
        name=title,
        description=description,
        datePublished=published,
        license=ref(identifier),
        conformsTo=refs(_PROFILES),
        hasPart=[],
        mentions=[],
    )
    graph.entities[ROOT].update(hasPart=[], mentions=[])
    words = licence or "No licence was stated when this crate was written"
    graph.add(identifier, "CreativeWork", name=words, description=words)
    for profile, name in _PROFILES.items():
        graph.add(profile, "CreativeWork", name=name, version=profile.rpartition("/")[2])
    return graph
