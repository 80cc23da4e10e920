"""When to ask again, and how long to wait before.

What may be asked again, and what is known by then, is the caller's business: a retry goes on where
the last attempt came to.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

import requests
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from nbrw_builder.registry.errors import RegistryError

T = TypeVar("T")
#: Answers that may be others later.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
ATTEMPTS = 6
_FIRST, _LONGEST = 0.25, 20.0  # seconds
_PATIENCE = 120.0  # seconds that a registry may ask to wait


class Stopped(Exception):
    """Somebody else has failed or was interrupted: nothing more is to be done."""


class Passing(Exception):
    """An attempt failed in a way that may pass; ``error`` is what is said if it does not."""

    def __init__(self, error: RegistryError, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


def wait_asked_for(headers: requests.structures.CaseInsensitiveDict[str]) -> float | None:
    """The seconds of ``Retry-After``, a number or a date; None without one."""
    text = headers.get("Retry-After")
    if text is None:
        return None
    try:
        return float(Retry().parse_retry_after(text))
    except HTTPError:
        return None


def pause(attempt: int, asked: float | None) -> float:
    """How long to wait after this attempt (from 1), in seconds."""
    if asked is not None:
        return asked
    return min(_LONGEST, _FIRST * 2 ** (attempt - 1)) * random.uniform(0.75, 1.25)


def retried(
    attempt: Callable[[], T], stop: threading.Event, progress: Callable[[], int] = lambda: 0
) -> T:
    """What ``attempt`` returns, tried again while it raises Passing.

    Attempts after which ``progress`` (bytes) is further than before do not count. Raises the last
    attempt's error, and Stopped if ``stop`` is set meanwhile.
    """
    tried, reached = 0, progress()
    while True:
        if stop.is_set():
            raise Stopped
        try:
            return attempt()
        except Passing as failed:
            now = progress()
            tried = 1 if now > reached else tried + 1
            reached = max(reached, now)
            wait = pause(tried, failed.wait)
            if tried >= ATTEMPTS or wait > _PATIENCE:
                raise failed.error from failed
            if stop.wait(wait):
                raise Stopped from failed
