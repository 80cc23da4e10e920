"""The certificates by which scheduler, workers and client of one user know each other.

A directory with ``ca.pem``, ``cert.pem`` and ``key.pem``, which nobody else can read: who has the
key can run code as the user.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nbrw_runtime.errors import StorageError, UsageError

NAMES = ("ca.pem", "cert.pem", "key.pem")


def prepare(directory: Path) -> bool:
    """Make the directory if need be; whether certificates are yet to be made in it.

    Raises UsageError as :func:`check` does, StorageError.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        missing = not any((directory / name).exists() for name in NAMES)
    except OSError as error:
        raise StorageError(f"make {directory} for certificates: {error.strerror}") from error
    if missing:
        _private(directory)
        return True
    check(directory)
    return False


def check(directory: Path) -> None:
    """Raises UsageError if the three files are not there, or others can read the key."""
    lacking = [name for name in NAMES if not (directory / name).is_file()]
    if lacking:
        raise UsageError(
            f"use the certificates in {directory}: there is no {', '.join(lacking)}; "
            "`scheduler --tls DIR` makes them in an empty directory"
        )
    _private(directory / "key.pem")


def _private(path: Path) -> None:
    status = path.stat()
    others = stat.S_IRWXG | stat.S_IRWXO
    if status.st_uid != os.geteuid() or status.st_mode & others:
        raise UsageError(
            f"use the certificates at {path}: it must be yours and closed to others, as who has "
            f"the key can run code as you; chmod go= {path}"
        )


def dask_words(directory: Path) -> list[str]:
    """Options of Dask's programs."""
    options = ("--tls-ca-file", "--tls-cert", "--tls-key")
    pairs = zip(options, NAMES, strict=True)
    return [word for option, name in pairs for word in (option, str(directory / name))]
