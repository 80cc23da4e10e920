"""Exact versions of what an image holds, for pip or conda. Pure.

Source: PEP 508, pip's requirements file format; conda's explicit specification files.
"""

from __future__ import annotations

from collections.abc import Sequence

from nbrw_builder.components import Component
from nbrw_runtime.distributions import normal_name
from nbrw_runtime.recipe import Recipe


def lock_file(recipe: Recipe, components: Sequence[Component]) -> str:
    """The text: an explicit specification if the environment is conda's, else requirements."""
    if any(component.kind == "conda" for component in components):
        return _explicit(recipe, components)
    return requirements(recipe, components)


def requirements(recipe: Recipe, components: Sequence[Component]) -> str:
    """Requirements for pip, each with ``==`` or its address; what no index has is a comment.

    Hashes only where all are known, in the addresses: with one ``--hash`` pip wants all.
    """
    head = f"# What {recipe.title or 'the notebook'} was audited with"
    python = recipe.environment.python_version
    lines = [f"{head}, Python {python}" if python else head]
    for component in python_distributions(components):
        if component.local:
            lines.append(
                f"# {component.name} {component.version}: from local files, {_why(component)}"
            )
        else:
            lines.append(f"{requirement(component)}  # {_why(component)}")
    return "\n".join(lines) + "\n"


def python_distributions(components: Sequence[Component]) -> list[Component]:
    """Python's distributions, each once."""
    found: dict[str, Component] = {}
    for component in components:
        if component.kind in ("distribution", "local"):
            found.setdefault(normal_name(component.name), component)
    return [found[name] for name in sorted(found)]


def requirement(component: Component) -> str:
    """A distribution as PEP 508 names it."""
    name = normal_name(component.name)
    if not component.source:
        return f"{name}=={component.version}"
    digest = f"#sha256={component.digest}" if component.digest else ""
    return f"{name} @ {component.source}{digest}"


def _explicit(recipe: Recipe, components: Sequence[Component]) -> str:
    lines = [f"# What {recipe.title or 'the notebook'} was audited with", "@EXPLICIT"]
    for component in components:
        if component.kind == "conda":
            digest = f"#{component.digest}" if component.digest else ""
            known = component.source and f"{component.source}{digest}"
            lines.append(known or f"# {component.name} {component.version}: its address is unknown")
    others = python_distributions(components)
    if others:
        lines.append("# from pip:")
        lines += [
            f"#   {component.name} {component.version}, from local files"
            if component.local
            else f"#   {requirement(component)}"
            for component in others
        ]
    return "\n".join(lines) + "\n"


def _why(component: Component) -> str:
    return component.use
