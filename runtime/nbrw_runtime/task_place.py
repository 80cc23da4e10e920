"""Where code of this process stands: what relative paths and local times mean to it."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """The working directory and the time zone that a kernel began with."""

    directory: str
    zone: str | None

    @classmethod
    def now(cls) -> Start:
        """Those of this moment."""
        return cls(_directory(), os.environ.get("TZ"))

    def changed(self) -> dict[str, str]:
        """What is another by now, in words: a directory below the first as seen from there, as
        that may be another on each machine. Empty, as usual: nothing.
        """
        now, found = self.now(), {}
        if now.directory != self.directory:
            below = now.directory.startswith(f"{self.directory}/")
            name = os.path.relpath(now.directory, self.directory) if below else now.directory
            found["the working directory"] = name
        if now.zone != self.zone:
            found["the time zone"] = str(now.zone)
        return found


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""
