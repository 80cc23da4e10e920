"""Components as an SPDX document. Pure.

Source: SPDX specification 2.3, chapters 6 (document), 7 (package), 11 (relationships), annex F.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from nbrw_builder.components import Component
from nbrw_runtime.distributions import normal_name

_IMAGE = "SPDXRef-image"
_NO = "NOASSERTION"
_PURPOSE = {"file": "FILE", "interpreter": "APPLICATION", "local": "SOURCE"}


def spdx(
    title: str, components: Sequence[Component], created: str, tool: str, identifier: uuid.UUID
) -> dict[str, Any]:
    """The JSON document. What was used is a runtime dependency of the image, what is only packed
    is contained in it; comments say by which cells, and why.
    """
    names = identifiers(components)
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": title,
        "documentNamespace": f"https://spdx.org/spdxdocs/nbrw-{identifier}",
        "creationInfo": {
            "created": created,
            "creators": [f"Tool: nbrw-{tool}"],
            "comment": "Equal images have equal documents: unless the time was asked for, it is "
            "that of all files in the image.",
        },
        "comment": "Software that the notebook used, by the trace of its audit, and what it "
        "requires. Not listed are the base of every image (a shell, the usual programs, their "
        "libraries, certificates, time zones) and data.",
        "documentDescribes": [_IMAGE],
        "packages": [_image(title), *map(_package, components, names)],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE),
            *_relations(components, names),
        ],
    }


def identifiers(components: Sequence[Component]) -> list[str]:
    """An SPDX identifier for each component, each once."""
    found: dict[str, None] = {}
    for component in components:
        text = f"{component.kind}-{component.name}-{component.version}".strip("-")
        base = name = "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]+", "-", text)
        number = 1
        while name in found:
            number += 1
            name = f"{base}-again{number}"
        found[name] = None
    return list(found)


def _image(title: str) -> dict[str, Any]:
    return {
        "SPDXID": _IMAGE,
        "name": title,
        "downloadLocation": _NO,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": _NO,
        "licenseDeclared": _NO,
        "copyrightText": _NO,
    }


def _package(component: Component, identifier: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": identifier,
        "name": component.name,
        "downloadLocation": component.source or _NO,
        "filesAnalyzed": False,
        "licenseConcluded": _NO,
        "licenseDeclared": component.licence or _NO,
        "copyrightText": _NO,
        "comment": component.use,
        "supplier": f"Organization: {component.supplier}" if component.supplier else _NO,
    }
    if component.version:
        found["versionInfo"] = component.version
    if component.author:
        found["originator"] = f"Person: {component.author}"
    if component.licence_name:
        found["licenseComments"] = f"The package's metadata name: {component.licence_name}"
    if component.kind in _PURPOSE:
        found["primaryPackagePurpose"] = _PURPOSE[component.kind]
    if component.digest:
        found["checksums"] = [{"algorithm": "SHA256", "checksumValue": component.digest}]
    if component.purl:
        found["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": component.purl,
            }
        ]
    return found


def _relations(components: Sequence[Component], names: Sequence[str]) -> list[dict[str, str]]:
    by_name = {
        (component.kind, normal_name(component.name)): name
        for component, name in zip(components, names, strict=True)
    }
    found = [_relation(_IMAGE, "CONTAINS", name) for name in names]
    for component, name in zip(components, names, strict=True):
        if component.used:
            found.append(_relation(name, "RUNTIME_DEPENDENCY_OF", _IMAGE))
        for dependant in component.needed_by:
            other = by_name.get((component.kind, normal_name(dependant)))
            if other is not None:
                found.append(_relation(other, "DEPENDS_ON", name))
    return found


def _relation(subject: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": subject, "relationshipType": kind, "relatedSpdxElement": other}
