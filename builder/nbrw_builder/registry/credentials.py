"""Who the caller is to a registry, from the files of Docker, Apptainer and podman.

The formats and the protocol of credential helpers are left to Docker's own library. Credentials
are looked for when a registry asks for them, and are neither kept nor shown.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbrw_builder.registry.reference import Reference

_HUB_KEY = "https://index.docker.io/v1/"


@dataclass(frozen=True)
class Credentials:
    """A name and password, or an identity ``token``; ``source`` says where they come from."""

    source: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Found:
    """Credentials, if there are any, and why some that may be there could not be read."""

    credentials: Credentials | None
    problems: tuple[str, ...] = ()


def credential_files(variables: Mapping[str, str], home: Path) -> list[Path]:
    """Where credentials may be, the most particular first."""
    runtime = variables.get("XDG_RUNTIME_DIR")
    config = Path(variables.get("XDG_CONFIG_HOME") or home / ".config")
    found = [
        variables.get("REGISTRY_AUTH_FILE"),
        Path(variables.get("DOCKER_CONFIG") or home / ".docker") / "config.json",
        Path(variables.get("APPTAINER_CONFIGDIR") or home / ".apptainer") / "docker-config.json",
        home / ".singularity" / "docker-config.json",
        Path(runtime) / "containers" / "auth.json" if runtime else None,
        config / "containers" / "auth.json",
    ]
    return [Path(path) for path in found if path]


def find_credentials(
    reference: Reference, variables: Mapping[str, str] | None = None, home: Path | None = None
) -> Found:
    """The first credentials for the reference's registry; entries for a part of it come first."""
    variables = os.environ if variables is None else variables
    problems = []
    for path in credential_files(variables, home or Path.home()):
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{path} cannot be read: {_cause(error)}")
            continue
        found, problem = _look_up(value, path, reference)
        if problem:
            problems.append(problem)
        if found:
            return Found(found, tuple(problems))
    return Found(None, tuple(problems))


def _cause(error: Exception) -> str:
    # Of a spoilt file only the place: its text holds secrets.
    return (error.strerror or "") if isinstance(error, OSError) else "it is no JSON"


def _look_up(value: Any, path: Path, reference: Reference) -> tuple[Credentials | None, str]:
    from docker import auth, errors

    try:
        config = auth.load_config(config_dict=dict(value))
        for key in keys(reference):
            for name, entry in config.auths.items():
                if entry and _plain(name) == key:
                    return _credentials(entry, str(path)), ""
    except (ValueError, TypeError, AttributeError, errors.DockerException):
        return None, f"{path} has entries that are no credentials"
    server = _HUB_KEY if reference.host == "docker.io" else reference.host
    store = config.get_credential_store(server)
    if not store:
        return None, ""
    where = f"docker-credential-{store} ({path})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is missing is said below
            answer = config._resolve_authconfig_credstore(server, store)
    except (errors.DockerException, KeyError, ValueError, TypeError):
        return None, f"{where} failed or is not installed"
    return (_credentials(answer, where) if answer else None), ""


def keys(reference: Reference) -> list[str]:
    """Names that an entry for the reference may have: podman's are as narrow as a repository."""
    parts = reference.repository.split("/")
    found = [f"{reference.host}/{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)]
    hub = ["index.docker.io", "registry-1.docker.io"] if reference.host == "docker.io" else []
    return [*found, reference.host, *hub]


def _plain(name: str) -> str:
    """The entry's name as a host or a repository: Docker's may be an address of its API."""
    bare = name.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _credentials(entry: Mapping[str, Any], source: str) -> Credentials | None:
    token = entry.get("IdentityToken")
    if token:
        return Credentials(source, token=str(token))
    name = entry.get("username") or entry.get("Username")
    password = entry.get("password") or entry.get("Password")
    return Credentials(source, str(name), str(password)) if name and password else None
