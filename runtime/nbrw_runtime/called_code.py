"""What the functions do that a cell may call, as far as the code of the cells tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from nbrw_runtime.effects import Effect, effects_of
from nbrw_runtime.names import Names, definition
from nbrw_runtime.versions import Versions


class CalledCode:
    """What the code of the cells so far says of imports and of the effects of functions."""

    def __init__(self) -> None:
        self.imported: dict[str, str] = {}
        self.functions: dict[str, tuple[Effect, ...]] = {}

    def add(self, source: str) -> None:
        """The next cell's source."""
        found = effects_of(source)
        self.imported.update(found.imports)
        self.functions.update({definition(n): effects for n, effects in found.functions.items()})

    def called(self, names: Names, then: Versions) -> Iterator[Effect]:
        """The effects of all functions that code may call which mentions these names."""
        mentioned = names.used - names.bound
        dynamic = then.is_dynamic(names)
        reached = {*then.used(names), *map(definition, mentioned)}
        for name, effects in self.functions.items():
            if dynamic or name in reached:
                yield from effects
