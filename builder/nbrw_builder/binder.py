"""A `binder` directory: what repo2docker and Binder need to make such an environment anew. Pure.

Source: Reproducible Execution Environment Specification, repo2docker's "Configuration files".
"""

from __future__ import annotations

from collections.abc import Sequence

from nbrw_builder.components import Component
from nbrw_builder.lock_file import python_distributions, requirement, requirements
from nbrw_runtime.recipe import Recipe

# What any Ubuntu, on which repo2docker builds, has by itself, or has under names of its own.
_USUAL = (
    "base-files", "bash", "ca-certificates", "coreutils", "dash", "debconf", "gcc-", "libbz2-",
    "libc-", "libc6", "libcrypt", "libdb5", "libexpat1", "libffi", "libgcc-", "libgdbm",
    "liblzma", "libncurses", "libnsl", "libpython", "libreadline", "libsqlite3", "libssl",
    "libstdc++", "libtinfo", "libtirpc", "libuuid", "libzstd", "locales", "media-types",
    "mime-support", "netbase", "openssl", "python", "tzdata", "zlib1g",
)  # fmt: skip


def binder_files(recipe: Recipe, components: Sequence[Component]) -> dict[str, str]:
    """The files by name: ``environment.yml``, or ``requirements.txt`` and ``runtime.txt``;
    ``apt.txt`` if the notebook used Debian packages beside the usual ones.
    """
    found: dict[str, str] = {}
    short = ".".join(recipe.environment.python_version.split(".")[:2])
    if any(component.kind == "conda" for component in components):
        found["environment.yml"] = _environment(components)
    else:
        found["requirements.txt"] = requirements(recipe, components)
        if short:
            found["runtime.txt"] = f"python-{short}\n"
    system = sorted(
        component.name
        for component in components
        if component.kind == "dpkg" and component.used and not component.name.startswith(_USUAL)
    )
    if system:
        found["apt.txt"] = "\n".join(system) + "\n"
    return found


def _environment(components: Sequence[Component]) -> str:
    conda = [component for component in components if component.kind == "conda"]
    channels = dict.fromkeys(component.channel for component in conda if component.channel)
    lines = ["channels:", *(f"  - {_quoted(name)}" for name in channels or {"conda-forge": None})]
    lines.append("dependencies:")
    for component in conda:
        build = f"={component.build}" if component.build else ""
        lines.append(f"  - {_quoted(f'{component.name}={component.version}{build}')}")
    others = [found for found in python_distributions(components) if not found.local]
    if others:
        lines += ["  - pip", "  - pip:"]
        lines += [f"    - {_quoted(requirement(component))}" for component in others]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML string."""
    return "'" + text.replace("'", "''") + "'"
