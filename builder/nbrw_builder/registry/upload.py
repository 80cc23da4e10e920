"""One blob to a registry: not if it is there, from another repository if that has it, in pieces
that are sent once each where the registry allows it.

Source: OCI distribution-spec v1.1, "Pushing blobs".
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

from nbrw_builder.registry.account import Moved, State
from nbrw_builder.registry.body import Body
from nbrw_builder.registry.client import Answer, Client
from nbrw_builder.registry.descriptor import Blob
from nbrw_builder.registry.errors import RegistryError
from nbrw_builder.registry.known import KnownBlobs
from nbrw_builder.registry.lost import read
from nbrw_builder.registry.retry import Passing, Stopped, retried
from nbrw_builder.registry.source import Place, Reader, hash_part
from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import IntegrityError

PIECE = 16 << 20  # bytes that are sent again, at most, after an interruption
_LONG = 3.0  # seconds; of pieces that take longer Ctrl-C would not await the end
_TYPE = {"Content-Type": "application/octet-stream"}
_REFUSES_PIECES = (400, 404, 405, 411, 415, 416, 501)
_GONE = (400, 404, 416)


class Upload:
    """Of one blob. ``advance`` is told of bytes that are done with, sent or not."""

    def __init__(
        self,
        client: Client,
        known: KnownBlobs,
        blob: Blob,
        place: Place,
        sources: tuple[str, ...],
        advance: Callable[[int], None],
        piece: int = PIECE,
    ) -> None:
        self._client = client
        self._known = known
        self._blob = blob
        self._place = place
        self._sources = sources
        self._tell = advance
        self._piece = piece
        self._least = min(piece, 1 << 20)
        self._whole = False
        self._act = f"push {_title(blob)} to {client.reference.host}/{client.reference.repository}"
        self._told = 0
        self._travelled = 0
        self._resumed = 0
        self._confirmed = 0
        self._location: str | None = None

    def run(self) -> Moved:
        """Have the registry have the blob. Raises RegistryError, IntegrityError, Stopped."""
        if self._is_there():
            return self._done(State.PRESENT)
        location = self._resumable()
        if location is None:
            answer = self._begin()
            if answer.status == 201:
                return self._done(State.MOUNTED)
            location = self._noted(answer)
        reader = Reader(self._place)
        try:
            self._send(reader, location)
        finally:
            reader.close()
        return self._done(State.SENT)

    def _done(self, state: State) -> Moved:
        self._known.note(self._blob.digest)
        self._known.ended(self._blob.digest)
        self._advance_to(self._blob.size)
        return Moved(self._blob, state, self._travelled, self._resumed)

    def _is_there(self) -> bool:
        url = self._client.url(f"blobs/{self._blob.digest}")
        return self._client.ask("HEAD", url, self._act, (200, 404)).status == 200

    # -- where to -------------------------------------------------------------------------------

    def _begin(self) -> Answer:
        """A new upload, or 201 if the registry had the blob in another repository."""
        url = self._client.url("blobs/uploads/")
        answer = None
        for source in self._sources:
            query = urlencode({"mount": str(self._blob.digest), "from": source})
            # Some registries refuse what they cannot mount, others begin an upload.
            with contextlib.suppress(RegistryError):
                answer = self._client.ask("POST", f"{url}?{query}", self._act, (201, 202))
                break
        if answer is None:
            answer = self._client.ask("POST", url, self._act, (202,))
        if answer.status == 201:
            return answer
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isdigit():
            self._least = int(least)
            self._piece = max(self._piece, self._least)
        return answer

    def _noted(self, answer: Answer) -> str:
        location = self._client.location(answer, self._act)
        if self._client.is_ours(location) and self._blob.size > self._piece:
            self._known.begun(self._blob.digest, location)
        return location

    def _resumable(self) -> str | None:
        """An earlier upload that goes on, and how far it came."""
        location = self._known.upload(self._blob.digest)
        if location is None or not self._client.is_ours(location):
            return None
        found = self._status(location)
        if found is not None:
            self._resumed = self._confirmed
            self._advance_to(self._confirmed)
        return found

    def _status(self, location: str) -> str | None:
        """Where the upload goes on, ``_confirmed`` bytes of it being there; None: it is lost."""
        answer = self._client.ask("GET", location, self._act, (200, 204, *_GONE))
        if answer.status in _GONE:
            return None
        self._confirmed = _received(answer.headers)
        return self._noted(answer) if answer.headers.get("Location") else location

    # -- the bytes ------------------------------------------------------------------------------

    def _send(self, reader: Reader, location: str) -> None:
        self._location = location
        fresh = True

        def attempt() -> None:
            nonlocal fresh
            if not fresh:
                if self._is_there():
                    return  # only the answer was lost
                known = self._location if self._in_parts else None
                self._location = self._status(known) if known else None
            fresh = False
            if self._location is None:
                self._confirmed = 0
                answer = self._begin()
                if answer.status == 201:
                    return
                self._location = self._noted(answer)
            if self._in_parts:
                self._in_pieces(reader)
            else:
                self._at_once(reader, self._location)

        retried(attempt, self._client.stop, lambda: self._confirmed)

    @property
    def _in_parts(self) -> bool:
        return not self._whole and self._blob.size > self._piece

    def _at_once(self, reader: Reader, location: str) -> None:
        body = Body(self, reader, 0, self._blob.size, hash_part(reader, 0))
        self._put(location, body)

    def _in_pieces(self, reader: Reader) -> None:
        location = self._location or ""
        hasher = hash_part(reader, self._confirmed)
        while self._confirmed < self._blob.size:
            if self._client.stop.is_set():
                raise Stopped
            start = self._confirmed
            end = min(start + self._piece, self._blob.size)
            body = Body(self, reader, start, end, hasher)
            began = time.monotonic()
            headers = {**_TYPE, "Content-Range": f"{start}-{end - 1}"}
            try:
                answer = self._client.once(
                    "PATCH", location, self._act, (201, 202, 204), headers, body=body.again
                )
            except RegistryError as error:
                if error.status in _REFUSES_PIECES:
                    # It takes no pieces, or has lost those it had: the blob is sent at once.
                    self._whole = True
                    self._location = None
                    self._known.ended(self._blob.digest)
                    raise Passing(error) from error
                raise
            location = self._client.location(answer, self._act)
            read(answer, self._act)
            if time.monotonic() - began > _LONG:
                self._piece = max(self._least, self._piece // 2)
            if _received(answer.headers) not in (0, end):
                raise Passing(
                    RegistryError(f"{self._act}: the registry did not take all that was sent")
                )
            hasher = body.hasher
            self._confirmed = end
            self._location = location
            if self._client.is_ours(location):
                self._known.begun(self._blob.digest, location)
        self._check(hasher.hexdigest())
        self._put(location, None)

    def _put(self, location: str, body: Body | None) -> None:
        parts = urlsplit(location)
        query = [*parse_qsl(parts.query, True), ("digest", str(self._blob.digest))]
        url = parts._replace(query=urlencode(query)).geturl()
        if body is None:
            answer = self._client.once("PUT", url, self._act, (201, 202, 204), _TYPE, data=b"")
        else:
            try:
                answer = self._client.once(
                    "PUT", url, self._act, (201, 202, 204), _TYPE, body=body.again
                )
            except RegistryError:
                if body.ended:
                    self._check(body.hasher.hexdigest())  # that would be the reason
                raise
            self._check(body.hasher.hexdigest())
        read(answer, self._act)

    def _check(self, digits: str) -> None:
        if digits != self._blob.digest.hex:
            self._known.ended(self._blob.digest)
            raise IntegrityError(
                _title(self._blob),
                str(self._blob.digest),
                str(Digest.from_hex(digits)),
                str(self._place.path),
            )

    # -- what is told ---------------------------------------------------------------------------

    def sent(self, position: int, size: int) -> None:
        """These bytes went to the network."""
        self._travelled += size
        self._advance_to(position + size)

    def _advance_to(self, position: int) -> None:
        if position > self._told:
            self._tell(position - self._told)
            self._told = position

    @property
    def stopped(self) -> bool:
        """Whether a piece is not to be completed either."""
        return self._client.stop.is_set() and self._blob.size <= self._piece


def _received(headers: Mapping[str, str]) -> int:
    """How many bytes the registry says that it has."""
    found = re.search(r"(?:^|=)0-(\d+)$", headers.get("Range", "").strip())
    last = int(found.group(1)) if found else 0
    return last + 1 if last else 0


def _title(blob: Blob) -> str:
    return f"layer {blob.name}" if blob.name else f"blob {str(blob.digest)[:19]}"
