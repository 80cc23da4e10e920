"""What refers to an image (signatures, bills of materials), in a layout and in a registry.

Source: OCI distribution-spec v1.1, "Pushing Manifests with Subject", "Listing Referrers",
"Unavailable Referrers API".
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from requests.utils import parse_header_links

from nbrw_builder.image import INDEX_TYPE, MANIFEST_TYPE, descriptor, index_bytes
from nbrw_builder.oci_read import Blobs, is_referrer, read_small
from nbrw_builder.registry.client import Client
from nbrw_builder.registry.descriptor import Blob, Manifest, read_manifest
from nbrw_builder.registry.errors import RegistryError, UnknownNameError
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import FormatError, IntegrityError

#: Of registries that do not list referrers, to somebody whom they gave the image.
_NO_API = (400, 401, 403, 404, 405, 406, 501)
_PAGES = 100
_ALONE = "--no-referrers leaves out what refers to the image"


@dataclass(frozen=True)
class Referrer:
    """A manifest whose subject is an image. ``kind`` is its artifactType, ``marks`` are
    annotations of its descriptor.
    """

    manifest: Manifest
    kind: str
    marks: Mapping[str, str]

    @property
    def entry(self) -> dict[str, Any]:
        """Its descriptor in an index."""
        found = descriptor(
            self.manifest.media_type, self.manifest.digest, len(self.manifest.data)
        ) | {"artifactType": self.kind}
        return found | ({"annotations": dict(self.marks)} if self.marks else {})

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What it consists of beside its manifest, named by its kind."""
        return tuple(
            Blob(blob.digest, blob.size, blob.media_type, self.kind) for blob in self.manifest.blobs
        )


def referrer(
    data: bytes, where: str, subject: Digest, marks: Mapping[str, str] | None = None
) -> Referrer | None:
    """What a manifest is if it refers to ``subject``, else None. Raises FormatError.

    Without ``marks`` its descriptor has the annotations of the manifest.
    """
    manifest = read_manifest(data, where, MANIFEST_TYPE)
    try:
        value = json.loads(data)
        if (value.get("subject") or {}).get("digest") != str(subject):
            return None
        kind = str(value.get("artifactType") or manifest.config.media_type)
        notes = value.get("annotations") or {} if marks is None else marks
        return Referrer(manifest, kind, {str(key): str(text) for key, text in notes.items()})
    except (TypeError, AttributeError) as error:
        raise FormatError(f"read {where}: not a manifest that nbrw reads: {error!r}") from error


def referrers_of_layout(
    blobs: Blobs, index: Mapping[str, Any], subject: Digest, where: str
) -> tuple[Referrer, ...]:
    """Those that an index names beside the image. Raises FormatError, NotFoundError,
    IntegrityError.
    """
    found = []
    for entry in filter(is_referrer, index["manifests"]):
        if entry.get("mediaType") == MANIFEST_TYPE:
            data = read_small(blobs, Digest(entry["digest"]), where)
            found.append(referrer(data, where, subject, entry.get("annotations") or {}))
    return tuple(one for one in found if one is not None)


def together(*groups: Iterable[Referrer]) -> tuple[Referrer, ...]:
    """Each once; the first counts."""
    found: dict[Digest, Referrer] = {}
    for one in (one for group in groups for one in group):
        found.setdefault(one.manifest.digest, one)
    return tuple(found.values())


# -- in a registry ------------------------------------------------------------------------------


def put_referrers(client: Client, subject: Digest, found: Iterable[Referrer]) -> None:
    """Put manifests whose blobs are there; where the registry does not list what refers to an
    image, in the index that clients keep under a tag. Raises RegistryError, IntegrityError.
    """
    unlisted = []
    for one in found:
        act = f"put what refers to {client.reference} ({one.kind})"
        url = client.url(f"manifests/{one.manifest.digest}")
        headers = {"Content-Type": one.manifest.media_type}
        with _named():
            answer = client.ask("PUT", url, act, (200, 201, 202), headers, one.manifest.data)
        if answer.headers.get("OCI-Subject") != str(subject):
            unlisted.append(one)
    if not unlisted:
        return
    # Two clients at once may lose an entry: the specification has no way against it.
    act = f"put the list of what refers to {client.reference}"
    url = client.url(f"manifests/{referrers_tag(subject)}")
    listed = _tagged(client, subject, act)
    known = {entry["digest"] for entry in listed}
    # The descriptor has what the manifest says, not what a layout says beside it.
    new = [_plain(one, subject).entry for one in unlisted]
    more = [entry for entry in new if entry["digest"] not in known]
    if more:
        data = index_bytes([*listed, *more])
        with _named():
            client.ask("PUT", url, act, (200, 201, 202), {"Content-Type": INDEX_TYPE}, data)


def fetch_referrers(client: Client, subject: Digest) -> tuple[Referrer, ...]:
    """Those that the registry knows of the image ``subject``; what it lists and has not, or what
    is about another image, is left out. Raises RegistryError, IntegrityError, FormatError.
    """
    act = f"pull what refers to {client.reference}"
    found = []
    with _named():
        for entry in _listed(client, subject, act):
            if entry.get("mediaType") != MANIFEST_TYPE:
                continue
            digest = Digest(str(entry["digest"]))
            accept = {"Accept": MANIFEST_TYPE}
            try:
                answer = client.ask("GET", client.url(f"manifests/{digest}"), act, headers=accept)
            except UnknownNameError:
                continue
            if digest_bytes(answer.body) != digest:
                got = str(digest_bytes(answer.body))
                raise IntegrityError("a manifest", str(digest), got, str(client.reference))
            found.append(referrer(answer.body, str(client.reference), subject))
    return together(one for one in found if one is not None)


def referrers_tag(subject: Digest) -> str:
    """The tag of the index of what refers to an image, in registries that do not list it."""
    return str(subject).replace(":", "-", 1)


def _listed(client: Client, subject: Digest, act: str) -> Iterator[Mapping[str, Any]]:
    url = client.url(f"referrers/{subject}")
    for number in range(_PAGES):
        try:
            answer = client.ask("GET", url, act, headers={"Accept": INDEX_TYPE})
            entries = _entries(answer.body)
        except RegistryError as error:
            if error.status not in _NO_API:
                raise
            entries = None
        if entries is None and number:
            raise RegistryError(f"{act}: the registry's list ends in the midst")
        if entries is None:
            yield from _tagged(client, subject, act)
            return
        yield from entries
        links = parse_header_links(answer.headers.get("Link", ""))
        after = next((link["url"] for link in links if link.get("rel") == "next"), None)
        if after is None:
            return
        url = client.address(after, answer, act)
    raise RegistryError(f"{act}: the registry's list has no end")


def _tagged(client: Client, subject: Digest, act: str) -> list[dict[str, Any]]:
    url = client.url(f"manifests/{referrers_tag(subject)}")
    answer = client.ask("GET", url, act, (200, 404), {"Accept": INDEX_TYPE})
    if answer.status == 404:
        return []
    entries = _entries(answer.body)
    if entries is None:
        raise RegistryError(f"{act}: the tag {referrers_tag(subject)} is something else; {_ALONE}")
    return entries


def _entries(data: bytes) -> list[dict[str, Any]] | None:
    """The descriptors in an index; None if it is none."""
    try:
        value = json.loads(data)
        if value["schemaVersion"] != 2 or value.get("mediaType", INDEX_TYPE) != INDEX_TYPE:
            return None
        for entry in value["manifests"]:
            Digest(entry["digest"])
        return list(value["manifests"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _plain(one: Referrer, subject: Digest) -> Referrer:
    found = referrer(one.manifest.data, one.kind, subject)
    return one if found is None else found


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Say of a refusal how to do without."""
    try:
        yield
    except UnknownNameError:
        raise
    except RegistryError as error:
        text = str(error)
        raise RegistryError(
            text if _ALONE in text else f"{text}; {_ALONE}", error.status
        ) from error
