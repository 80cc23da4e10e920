"""Whom to believe that it is the registry: the system's authorities, and those the caller names."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from nbrw_runtime.errors import UsageError

_DIRECTORIES = ("/etc/docker/certs.d", "/etc/containers/certs.d")


def tls_context(
    host: str, authority: Path | None = None, home: Path | None = None
) -> ssl.SSLContext:
    """A context that verifies; ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count as OpenSSL has it.

    ``authority`` is one more file of authorities; so are ``*.crt`` in Docker's directories for this
    ``host[:port]``, whose ``*.cert`` and ``*.key`` say who the caller is. Raises UsageError for a
    file that is none.
    """
    context = ssl.create_default_context()
    named = {"SSL_CERT_FILE", "SSL_CERT_DIR"} & set(os.environ)
    if not named and not context.get_ca_certs() and not _has_directory():
        # This Python knows no system's authorities (a conda or relocated one).
        import certifi

        context.load_verify_locations(certifi.where())
    if authority is not None:
        _load(context, authority)
    for directory in _certificates(host, home or Path.home()):
        for path in sorted(directory.glob("*.crt")):
            _load(context, path)
        for path in sorted(directory.glob("*.cert")):
            key = path.with_suffix(".key")
            try:
                context.load_cert_chain(path, key)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"read the certificate {path} with {key}: {error}") from error
    return context


def _has_directory() -> bool:
    place = ssl.get_default_verify_paths().capath
    return bool(place) and any(Path(place or "").glob("*.0"))


def _certificates(host: str, home: Path) -> list[Path]:
    places = [
        *map(Path, _DIRECTORIES),
        home / ".docker/certs.d",
        home / ".config/containers/certs.d",
    ]
    return [place / host for place in places if (place / host).is_dir()]


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"read the authorities in {path}: {cause}; name a file of certificates (PEM)"
        ) from error
