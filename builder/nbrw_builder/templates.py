"""Render the files of ``templates/`` (Jinja2)."""

from __future__ import annotations

import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound

from nbrw_builder.errors import BuildError


def _places() -> list[Path]:
    """In a wheel they lie in the package, in a checkout at its top."""
    here = Path(__file__).resolve().parent
    return [here / "_templates", here.parent.parent / "templates"]


def batch_templates() -> list[Path]:
    """Those of batch scripts, which the image itself fills in."""
    return sorted(found for place in _places() for found in place.glob("batch/*.in"))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    places = _places()
    environment = Environment(
        loader=FileSystemLoader([str(place) for place in places]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quote"] = lambda text: shlex.quote(str(text))
    return environment


def render(name: str, **values: Any) -> str:
    """The text of a template with these values. Raises BuildError if there is none of the name."""
    try:
        return _environment().get_template(name).render(**values)
    except TemplateNotFound as error:
        raise BuildError(f"render {name}: nbrw's installation lacks this template") from error
