"""What a registry asks for before it answers: the header ``WWW-Authenticate``. Pure.

Source: RFC 9110, section 11; distribution project, "Token Authentication Specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9-]*)(?:\s+(?=[A-Za-z]+\s*=)|\s*(?=,|$))")
_PARAMETER = re.compile(r'\s*,?\s*([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """``scheme`` in small letters; of ``bearer`` the token server, its service and the scope."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of a header, in order; what cannot be read is left out."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        if parameter and found:
            name, quoted, plain = parameter.groups()
            text = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(name.lower(), text)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(header, position)
        if not scheme or scheme.end() == position:
            break
        found.append((scheme.group(1).lower(), {}))
        position = scheme.end()
    return tuple(
        Challenge(scheme, *(found.get(name, "") for name in ("realm", "service", "scope")))
        for scheme, found in found
    )


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The one to answer: a token rather than the password itself."""
    known = {found.scheme: found for found in reversed(list(challenges))}
    return known.get("bearer") or known.get("basic")


def scopes(repository: str, push: bool, others: Iterable[str] = ()) -> tuple[str, ...]:
    """What a token must allow: the repository, and reading ``others`` to mount their blobs."""
    actions = "pull,push" if push else "pull"
    found = [f"repository:{repository}:{actions}"]
    found += [f"repository:{name}:pull" for name in others if name != repository]
    return tuple(dict.fromkeys(found))
