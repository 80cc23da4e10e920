"""A part of a blob as the body of a request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nbrw_builder.registry.errors import RegistryError
from nbrw_builder.registry.retry import Stopped
from nbrw_builder.registry.source import Reader

if TYPE_CHECKING:
    from nbrw_builder.registry.upload import Upload

_READ = 1 << 18


class Body:
    """Read once from the front to the end, hashed as it goes."""

    def __init__(
        self, upload: Upload, reader: Reader, start: int, end: int, hasher: hashlib._Hash
    ) -> None:
        self._upload, self._reader = upload, reader
        self._start, self._end = start, end
        self._before = hasher
        self.again()

    def again(self) -> Body:
        """The same from the beginning."""
        self.hasher = self._before.copy()
        self._position = self._start
        return self

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._position == self._end

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        if self._upload.stopped:
            raise Stopped
        left = self._end - self._position
        data = self._reader.read(self._position, min(left, _READ if size < 0 else size))
        if left and not data:
            raise RegistryError("the image became shorter while it was read; get it again")
        self.hasher.update(data)
        self._upload.sent(self._position, len(data))
        self._position += len(data)
        return data

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(_READ):
            yield data
