"""What a registry calls an image: ``docker://host[:port]/repository[:tag][@digest]``. Pure.

Source: OCI distribution-spec v1.1, "Pulling manifests"; names as Docker normalises them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nbrw_runtime.digest import Digest
from nbrw_runtime.errors import UsageError

SCHEMES = ("docker", "oras")
_HUB = "docker.io"
_HUB_API = "registry-1.docker.io"
_HOST = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True)
class Reference:
    """An image in a registry; a ``digest`` counts more than a ``tag``. ``host`` has the port."""

    scheme: str
    host: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def api_host(self) -> str:
        """Where the registry's API is: Docker Hub's is at another name."""
        return _HUB_API if self.host == _HUB else self.host

    @property
    def version(self) -> str:
        """What the registry is asked for: the digest, or the tag."""
        return str(self.digest) if self.digest else self.tag

    @property
    def name(self) -> str:
        """Without the scheme, as Docker writes it."""
        separator = "@" if self.digest else ":"
        return f"{self.host}/{self.repository}{separator}{self.version}"

    def at(self, digest: Digest) -> Reference:
        """The same repository at this digest."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"


def is_reference(text: str) -> bool:
    """Whether a word names an image in a registry, not a file."""
    return text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_reference(text: str) -> Reference:
    """The reference in a word; the tag is ``latest`` if there is neither tag nor digest.

    Raises UsageError naming what is wrong.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise _wrong(text, "it begins with neither docker:// nor oras://")
    if "@" in rest.partition("/")[0]:
        raise _wrong(text, "credentials do not belong there: `docker login` keeps them")
    rest, _, digest = rest.partition("@")
    host, path = _split(rest)
    repository, tag = _split_tag(path)
    if host == _HUB and "/" not in repository:
        repository = f"library/{repository}"
    if not _HOST.fullmatch(host):
        raise _wrong(text, f"{host!r} is no host[:port]")
    if not _REPOSITORY.fullmatch(repository):
        raise _wrong(text, f"{repository!r} is no repository (small letters, digits, ._-/)")
    if tag and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is no tag")
    found = None
    if digest:
        try:
            found = Digest(digest)
        except ValueError as error:
            raise _wrong(text, f"{digest!r} is no sha256 digest") from error
    return Reference(scheme, host, repository, "" if found else tag or "latest", found)


def _split(rest: str) -> tuple[str, str]:
    """Docker's rule: the first part is a host if it could be none of a repository's."""
    first, slash, path = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return ("docker.io" if first == "index.docker.io" else first), path
    return _HUB, rest


def _split_tag(path: str) -> tuple[str, str]:
    head, colon, tag = path.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (path, "")


def _wrong(text: str, cause: str) -> UsageError:
    return UsageError(f"read the name {text!r}: {cause}; write docker://host[:port]/team/name:tag")
