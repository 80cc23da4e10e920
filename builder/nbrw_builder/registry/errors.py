"""What a registry's refusals mean, in sentences with a remedy. Pure.

Source: OCI distribution-spec v1.1, "Error Codes".
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from nbrw_runtime.errors import EXIT_HOST, EXIT_USAGE, NbrwError

_SHOWN = 200  # characters of what the registry says itself


class RegistryError(NbrwError):
    """A registry refused, or could not be reached. ``status`` is HTTP's, 0 without an answer."""

    exit_code = EXIT_HOST

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class UnknownNameError(RegistryError):
    """The registry has no such repository, tag or digest."""

    exit_code = EXIT_USAGE


def explain(
    act: str, status: int, body: bytes, *, credentials: str = "", problems: Iterable[str] = ()
) -> RegistryError:
    """The error for an answer that is none of those hoped for.

    ``act`` says what was tried with which object; ``credentials`` where those that were used come
    from, empty if none were found; ``problems`` why some could not be read.
    """
    codes, said = _errors(body)
    tail = "".join(f"; {problem}" for problem in problems) if status in (401, 403, 404) else ""
    tail += f" (the registry says: {said})" if said else ""
    if status == 401 or "UNAUTHORIZED" in codes:
        return RegistryError(f"{act}: {_credentials(credentials)}{tail}", status)
    if status == 403 or "DENIED" in codes:
        cause = "the registry does not allow it" + (f" with {credentials}" if credentials else "")
        remedy = "ask for the right to do so there, or `docker login` as somebody who has it"
        if _about_room(said):
            cause, remedy = "the quota there is used up", "delete old tags, or ask for more room"
        return RegistryError(f"{act}: {cause}; {remedy}{tail}", status)
    if status == 404 or codes & {"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"}:
        return UnknownNameError(
            f"{act}: the registry has no such repository, tag or digest, or does not show it to "
            f"{'you' if credentials else 'strangers'}; check the name, or `docker login`{tail}",
            status,
        )
    if status in (413, 507) or _about_room(said):
        return RegistryError(
            f"{act}: the registry has no room for it or takes nothing so large; delete old tags "
            f"there, or ask those who run it{tail}",
            status,
        )
    if status == 429:
        return RegistryError(
            f"{act}: too many requests, and waiting did not help; try again later, or `docker "
            f"login` (strangers are allowed fewer){tail}",
            status,
        )
    if status >= 500:
        return RegistryError(
            f"{act}: the registry failed ({status}), also when it was asked again; try later{tail}",
            status,
        )
    return RegistryError(f"{act}: the registry refused ({status}){tail}", status)


def _credentials(source: str) -> str:
    if source:
        return f"the registry refuses the credentials of {source}; `docker login` again"
    return (
        "the registry wants credentials and none were found; `docker login`, `podman login` or "
        "`apptainer registry login` first"
    )


def _about_room(said: str) -> bool:
    return any(word in said.lower() for word in ("quota", "no space", "storage limit"))


def _errors(body: bytes) -> tuple[set[str], str]:
    try:
        errors = json.loads(body)["errors"]
        codes = {str(found.get("code", "")).upper() for found in errors}
        said = "; ".join(
            " ".join(str(found[key]) for key in ("message", "detail") if found.get(key))
            for found in errors
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        codes, said = set(), ""
    # Whatever a server sends must not steer a terminal.
    said = "".join(char if char.isprintable() else " " for char in said)
    return codes, said[:_SHOWN] + ("..." if len(said) > _SHOWN else "")
