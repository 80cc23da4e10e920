"""Components as a CycloneDX document. Pure.

Source: ECMA-424 (CycloneDX), JSON schema of version 1.6.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from nbrw_builder.components import RUNTIME, Component
from nbrw_builder.sbom_spdx import identifiers
from nbrw_runtime.distributions import normal_name

_OWN = "io.github.nbrw:"
_IMAGE = "image"
_TYPES = {"file": "file", "interpreter": "platform", RUNTIME: "application"}


def cyclonedx(
    title: str, components: Sequence[Component], created: str, tool: str, identifier: uuid.UUID
) -> dict[str, Any]:
    """The JSON document; without a time if ``created`` is empty.

    The image depends on what was used; what is only packed hangs below what requires it. The
    property ``io.github.nbrw:use`` is ``used`` or ``packed``.
    """
    names = [name.removeprefix("SPDXRef-") for name in identifiers(components)]
    metadata: dict[str, Any] = {
        "tools": {"components": [{"type": "application", "name": "nbrw", "version": tool}]},
        "component": {"type": "container", "bom-ref": _IMAGE, "name": title},
        "lifecycles": [{"phase": "post-build"}],
    }
    if created:
        metadata["timestamp"] = created
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{identifier}",
        "version": 1,
        "metadata": metadata,
        "components": list(map(_component, components, names)),
        "dependencies": _dependencies(components, names),
    }


def _component(component: Component, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": _TYPES.get(component.kind, "library"),
        "bom-ref": name,
        "name": component.name,
        "description": component.use,
        "properties": _properties(component),
    }
    if component.version:
        found["version"] = component.version
    if component.purl:
        found["purl"] = component.purl
    if component.licence:
        found["licenses"] = [{"expression": component.licence}]
    elif component.licence_name:
        found["licenses"] = [{"license": {"name": component.licence_name}}]
    if component.author:
        found["authors"] = [{"name": component.author}]
    if component.supplier:
        found["supplier"] = {"name": component.supplier}
    if component.digest:
        found["hashes"] = [{"alg": "SHA-256", "content": component.digest}]
    if component.source:
        found["externalReferences"] = [{"type": "distribution", "url": component.source}]
    return found


def _properties(component: Component) -> list[dict[str, str]]:
    known = {
        "cells": ",".join(map(str, component.cells)),
        "kind": component.kind,
        "roles": ",".join(component.roles),
        "use": "used" if component.used else "packed",
    }
    return [{"name": _OWN + key, "value": text} for key, text in known.items() if text]


def _dependencies(components: Sequence[Component], names: Sequence[str]) -> list[dict[str, Any]]:
    by_name = {
        (component.kind, normal_name(component.name)): name
        for component, name in zip(components, names, strict=True)
    }
    below: dict[str, set[str]] = {_IMAGE: set(), **{name: set() for name in names}}
    for component, name in zip(components, names, strict=True):
        above = [
            other
            for dependant in component.needed_by
            if (other := by_name.get((component.kind, normal_name(dependant)))) is not None
        ]
        # What nothing else holds hangs below the image: else scanners would miss it.
        for other in above if above and not component.used else [*above, _IMAGE]:
            below[other].add(name)
    return [{"ref": ref, "dependsOn": sorted(found)} for ref, found in sorted(below.items())]
