"""The JSON schemas that the OCI image-spec publishes, as Debian packages them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT4

PACKAGE = "golang-github-opencontainers-image-spec-dev"
SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
DESCRIPTOR = "content-descriptor"
FILES = {
    "application/vnd.oci.image.index.v1+json": "image-index-schema",
    "application/vnd.oci.image.manifest.v1+json": "image-manifest-schema",
    "application/vnd.oci.image.config.v1+json": "config-schema",
    "application/vnd.oci.layout.header.v1+json": "image-layout-schema",
}


def need_schemas() -> None:
    """Skip, or fail in CI, unless they are there."""
    if not SCHEMAS.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs the package {PACKAGE}")


def problems(media_type: str, value: Any) -> list[str]:
    """What the schemas have against a document of this type.

    Descriptors are checked wherever they stand: schemas of before 1.1 know of no ``subject``.
    """
    found = _errors(FILES[media_type], value)
    for one in descriptors(value):
        found += _errors(DESCRIPTOR, one)
    for holder in (value, *descriptors(value)):
        if isinstance(holder, dict) and "artifactType" in holder:
            found += _errors("defs-descriptor", holder["artifactType"], "/definitions/mediaType")
    return found


def descriptors(value: Any) -> Iterator[dict[str, Any]]:
    """What a manifest or index names."""
    for name in ("config", "subject"):
        if "mediaType" in value.get(name, {}):
            yield value[name]
    yield from (*value.get("layers", ()), *value.get("manifests", ()))


def _errors(name: str, value: Any, fragment: str = "") -> list[str]:
    schema = {"$ref": f"https://opencontainers.org/schema/{name}.json#{fragment}"}
    registry: Any = referencing.Registry(retrieve=_schema)  # type: ignore[call-arg]
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    return [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def _schema(address: str) -> referencing.Resource[Any]:
    # They name each other by addresses that differ in their directories.
    path = SCHEMAS / Path(address).name
    return DRAFT4.create_resource(json.loads(path.read_bytes()))
