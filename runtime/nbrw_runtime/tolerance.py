"""How far two numbers may lie apart and still count as equal. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nbrw_runtime.errors import UsageError


@dataclass(frozen=True)
class Tolerance:
    """Numbers are equal if they differ by at most ``relative`` times the larger, or ``absolute``.

    As :func:`math.isclose` has it: it does not matter which of the two is the author's. What is
    not finite is equal to itself alone.
    """

    relative: float
    absolute: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.relative, self.absolute):
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"a tolerance is a number from 0 on, not {value}")

    def close(self, first: float, second: float) -> bool:
        """Whether two numbers are equal within the tolerance; NaN is equal to NaN."""
        if first == second or (first != first and second != second):
            return True
        if not (math.isfinite(first) and math.isfinite(second)):
            return False
        limit = max(self.relative * max(abs(first), abs(second)), self.absolute)
        return abs(first - second) <= limit

    def __str__(self) -> str:
        text = f"{self.relative:g} of the larger"
        return f"{text}, or {self.absolute:g}" if self.absolute else text


#: What a sum may differ by when its parts are added in another order, and hardly more.
DEFAULT = Tolerance(1e-9)


def parse_tolerance(text: str) -> Tolerance:
    """``RELATIVE`` or ``RELATIVE,ABSOLUTE``, as in ``1e-6,1e-12``. Raises UsageError."""
    try:
        numbers = [float(part) for part in text.split(",")]
        return Tolerance(*numbers)
    except (TypeError, ValueError):
        raise UsageError(
            f"read the tolerance {text!r}: give RELATIVE or RELATIVE,ABSOLUTE, numbers from 0 on, "
            "such as 1e-6 or 1e-6,1e-12"
        ) from None
