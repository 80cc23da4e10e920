"""Answers that do not come, or from somebody else: what that means, and what is said."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from nbrw_builder.registry.errors import RegistryError
from nbrw_builder.registry.retry import Passing

_SMALL = 4 << 20  # bytes of an answer that is no blob: the specification's limit of manifests
_NO_TLS = "WRONG_VERSION_NUMBER"
#: What OpenSSL says of another than a lost connection.
IMPOSTOR = (_NO_TLS, "CERTIFICATE_VERIFY_FAILED", "match", "ALERT", "UNSUPPORTED", "NO_CIPHER")


def read(answer: requests.Response, act: str) -> bytes:
    """The whole of a small answer, which is closed. Raises Passing, RegistryError if too large."""
    data = b""
    try:
        for piece in answer.iter_content(1 << 16):
            data += piece
            if len(data) > _SMALL:
                raise RegistryError(f"{act}: the registry's answer is larger than any manifest")
    except requests.exceptions.RequestException as error:
        raise lost(act, error) from error
    finally:
        answer.close()
    return data


def lost(act: str, error: Exception) -> Passing:
    """A connection that was lost on the way."""
    cause = cause_of(error)
    return Passing(RegistryError(f"{act}: the connection was lost, again and again: {cause}"))


def cause_of(error: BaseException) -> str:
    """The innermost reason of a failed request, without addresses and object ids."""
    seen: BaseException = error
    while True:
        inner = (
            getattr(seen, "reason", None)
            or seen.__cause__
            or next((arg for arg in seen.args if isinstance(arg, BaseException)), None)
        )
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    text = str(seen.args[0]) if seen.args else type(seen).__name__
    return text.rpartition("object at ")[2].partition(">: ")[2] or text


def not_believed(act: str, url: str, error: Exception) -> RegistryError:
    host = urlsplit(url).netloc
    cause = cause_of(error)
    remedy = (
        f"give the file of its authority with --ca or in ~/.docker/certs.d/{host}/ca.crt "
        "(SSL_CERT_FILE counts, too)"
    )
    if _NO_TLS in str(error):
        remedy = "it seems to have no TLS: --plain-http, if that is meant so"
    return RegistryError(f"{act}: {host} is not believed to be the registry: {cause}; {remedy}")
