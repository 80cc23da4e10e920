"""Blobs and manifests from a registry; what an interrupted download left is gone on with.

Source: OCI distribution-spec v1.1, "Pulling blobs".
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import requests
from urllib3.exceptions import HTTPError

from nbrw_builder.registry.client import Client
from nbrw_builder.registry.descriptor import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Blob,
    Manifest,
    choose_manifest,
    read_manifest,
)
from nbrw_builder.registry.errors import RegistryError
from nbrw_builder.registry.lost import lost
from nbrw_builder.registry.retry import Passing, Stopped, retried
from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import IntegrityError, StorageError

_READ = 1 << 18  # larger ones are mapped anew each time
_ACCEPT = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}


def fetch_manifest(client: Client, architecture: str) -> Manifest:
    """The image's manifest; of several the one for this architecture.

    Raises RegistryError, IntegrityError, FormatError, UsageError.
    """
    where = str(client.reference)
    version = client.reference.version
    for _ in range(3):
        answer = client.ask(
            "GET", client.url(f"manifests/{version}"), f"pull {where}", headers=_ACCEPT
        )
        found = digest_bytes(answer.body)
        want = (
            version
            if version.startswith("sha256:")
            else answer.headers.get("Docker-Content-Digest", str(found))
        )
        if want != str(found):
            raise IntegrityError("the manifest", want, str(found), where)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        if kind not in INDEX_TYPES:
            return read_manifest(answer.body, where, kind)
        version = str(choose_manifest(answer.body, where, architecture))
    raise RegistryError(f"pull {where}: it is an index of indexes; name the image by its digest")


class Download:
    """Of one blob, to the file ``path``, by way of ``path`` + ``.part`` which stays if it fails.

    It is not forced to the disk: what a power failure costs, its digest shows. ``advance`` is told
    of bytes that are there.
    """

    def __init__(
        self, client: Client, blob: Blob, path: Path, advance: Callable[[int], None]
    ) -> None:
        self._client = client
        self._blob = blob
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._tell = advance
        self._told = 0
        self._act = f"pull {blob.name or blob.digest} of {client.reference}"
        self._size = 0
        self._hasher = hashlib.sha256()
        self.travelled = 0
        self.resumed = 0

    def run(self) -> None:
        """Raises RegistryError, IntegrityError, StorageError, Stopped."""
        with storage(self._part), open(self._part, "a+b") as stream:
            self._look(stream)
            self.resumed = self._size
            try:
                retried(lambda: self._attempt(stream), self._client.stop, lambda: self._size)
                self._check(stream)
            except IntegrityError:
                if not self.resumed:
                    raise
                # What was there already may have been at fault.
                self.resumed = 0
                self._restart(stream)
                retried(lambda: self._attempt(stream), self._client.stop, lambda: self._size)
                self._check(stream)
        self._part.rename(self._path)

    def _look(self, stream: BinaryIO) -> None:
        """Hash what is there."""
        stream.seek(0)
        while data := stream.read(_READ):
            if self._client.stop.is_set():
                raise Stopped
            self._hasher.update(data)
            self._size += len(data)
        if self._size > self._blob.size:
            self._restart(stream)
        self._advance()

    def _restart(self, stream: BinaryIO) -> None:
        stream.truncate(0)
        self._size = 0
        self._hasher = hashlib.sha256()

    def _attempt(self, stream: BinaryIO) -> None:
        if self._size == self._blob.size:
            return
        headers = {"Range": f"bytes={self._size}-"} if self._size else {}
        url = self._client.url(f"blobs/{self._blob.digest}")
        with self._client.once("GET", url, self._act, (200, 206, 416), headers) as answer:
            if answer.status_code != 206 or _first(answer) != self._size:
                if answer.status_code != 200 and self._size:
                    self._restart(stream)
                    raise Passing(RegistryError(f"{self._act}: the registry gives no parts"))
                if answer.status_code != 200:
                    raise RegistryError(f"{self._act}: the registry refused ({answer.status_code})")
                self._restart(stream)
            self._copy(answer, stream)

    def _copy(self, answer: requests.Response, stream: BinaryIO) -> None:
        while True:
            if self._client.stop.is_set():
                raise Stopped
            try:
                data = answer.raw.read(_READ)
            except HTTPError as error:
                raise lost(self._act, error) from error
            if not data:
                break
            self._size += len(data)
            self.travelled += len(data)
            if self._size > self._blob.size:
                self._restart(stream)
                raise IntegrityError(
                    f"blob {self._blob.digest}",
                    f"{self._blob.size} bytes long",
                    "that of more bytes",
                    str(self._client.reference),
                )
            stream.write(data)
            self._hasher.update(data)
            self._advance()
        if self._size < self._blob.size:
            raise Passing(RegistryError(f"{self._act}: the connection was lost, again and again"))

    def _check(self, stream: BinaryIO) -> None:
        found = self._hasher.hexdigest()
        if found != self._blob.digest.hex:
            self._restart(stream)
            raise IntegrityError(
                f"blob {self._blob.digest}",
                str(self._blob.digest),
                str(Digest.from_hex(found)),
                str(self._client.reference),
            )

    def _advance(self) -> None:
        if self._size > self._told:
            self._tell(self._size - self._told)
            self._told = self._size


def _first(answer: requests.Response) -> int:
    """The position of the first byte of a part."""
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found.group(1)) if found else -1


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """What the disk says against it, as our error."""
    try:
        yield
    except OSError as error:
        remedy = "name a place that can be written"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "make room and start it again: it goes on where it stopped"
        raise StorageError(f"write {path.parent}: {error.strerror or error}; {remedy}") from error
