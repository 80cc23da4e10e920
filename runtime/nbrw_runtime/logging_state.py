"""Levels and handlers of loggers: state that lies in no variable.

A handler of a name that a logger has, too, is stored as that logger's (`codec_builtins.py`), so
that it is one object afterwards.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from nbrw_runtime.codec_files import place_of, stored_path
from nbrw_runtime.codec_kinds import Lost

_PLAIN: tuple[Any, ...] = (0, True, False, (), ())  # level, propagates, is off, handlers, filters
_DASK = frozenset({"distributed", "bokeh", "tornado"})
#: What distributed sets when it is loaded.
_USUAL = {
    "distributed": logging.INFO, "distributed.client": logging.WARNING, "bokeh": logging.ERROR,
    "distributed.gc": logging.WARNING, "tornado": logging.CRITICAL,
    "tornado.application": logging.ERROR,
}  # fmt: skip
_STYLES = {
    logging.PercentStyle: "%", logging.StrFormatStyle: "{", logging.StringTemplateStyle: "$"
}  # fmt: skip


class Loggers:
    """Reads and sets all loggers, against how they were when the kernel started."""

    def __init__(self) -> None:
        self.start = {name: _look(logger) for name, logger in _loggers()}
        self.capturing = _is_capturing()
        self.levels = dict(logging._levelToName)
        self._odd = {name for name, look in self.start.items() if look != _PLAIN}
        self._seen: set[str] = set()
        self._owned: dict[str, bool] = {}  # whether a logger with another name is a library's
        self._first: dict[str, tuple[Any, ...]] = {}  # libraries' loggers, as they were at first

    def get(self) -> Any:
        """What differs, or None."""
        changed = {}
        odd = {}
        why = ""
        for name, logger in _loggers():
            plain = logger.propagate and not (logger.level or logger.handlers or logger.disabled)
            if plain and not logger.filters and name not in self._odd:
                continue
            found = self._changed(name, logger)
            if isinstance(found, str):
                why = why or found
                odd[name] = _content(logger)
            elif found is not None:
                changed[name] = found
        self._seen.update(logging.root.manager.loggerDict)
        more = (
            logging.root.manager.disable,
            _is_capturing() if _is_capturing() != self.capturing else None,
            {n: text for n, text in logging._levelToName.items() if self.levels.get(n) != text},
        )
        if odd:
            return Lost(why, content=(changed, more, odd))
        return (changed, more) if changed or any(more) else None

    def _changed(self, name: str, logger: Any) -> Any:
        """None; or its settings, the last None if handlers are as they were; or why not."""
        now = _look(logger)
        usual = self.start.get(name, _PLAIN)
        top = name.partition(".")[0]
        if top in _DASK and "distributed" in sys.modules:
            # Handlers and filters are its own, added whenever a cluster starts.
            usual = (_USUAL.get(name, usual[0]), now[1], usual[2], *now[3:])
        elif name not in self.start and self._is_of_library(name, logger):
            first = self._first.setdefault(name, _PLAIN if name in self._seen else now)
            if now[3:] != first[3:]:
                return f"the handlers or filters of {name}'s logger were changed"
            usual = (usual[0], first[1], *first[2:])
        if now == usual:
            return None
        if now[3:] == usual[3:]:
            return (*now[:3], None)
        if now[4]:
            return f"the logger {name!r} has a filter"
        handlers = [handler_parts(handler) for handler in logger.handlers]
        for handler, described in zip(logger.handlers, handlers, strict=True):
            if described is None:
                kind = type(handler).__qualname__
                return f"the {kind} of the logger {name or 'root'!r} cannot be stored"
        return (*now[:3], handlers)

    def _is_of_library(self, name: str, logger: Any) -> bool:
        """Whether a module that is not the notebook has made it: by its name, or as its global."""
        if name.partition(".")[0] in sys.modules:
            return True
        known = self._owned.get(name)
        if known is None:
            modules = [m for key, m in list(sys.modules.items()) if key != "__main__"]
            known = any(value is logger for m in modules for value in _globals(m))
            self._owned[name] = known
        return known

    def set(self, value: Any) -> None:
        """Make it so; what is not said is as it was at the start."""
        if isinstance(value, int):  # the root's level, which was all once
            value = ({"": (value, True, False, None)}, (0, None, {}))
        changed, (disabled, capturing, levels) = value or ({}, (0, None, {}))
        for name, logger in _loggers():
            if name not in changed and self._changed(name, logger) is not None:
                level, propagate, off, handlers, _ = self.start.get(name, _PLAIN)
                _make(logger, level, propagate, off)
                logger.handlers[:] = [found for found in handlers if found in logger.handlers]
        for name, (level, propagate, off, described) in changed.items():
            logger = logging.getLogger(name) if name else logging.getLogger()
            _make(logger, level, propagate, off)
            if described is not None:
                for handler in list(logger.handlers):
                    logger.removeHandler(handler)
                for parts in described:
                    logger.addHandler(_handler(*parts))
        logging.disable(disabled)
        logging.captureWarnings(self.capturing if capturing is None else capturing)
        for number, text in levels.items():
            logging.addLevelName(number, text)


def _loggers() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [("", logging.getLogger())]
    found += [
        item
        for item in list(logging.root.manager.loggerDict.items())
        if type(item[1]) is not logging.PlaceHolder
    ]
    return found


def _globals(module: Any) -> list[Any]:
    return list(getattr(module, "__dict__", {}).values())


def _look(logger: Any) -> tuple[Any, ...]:
    flags = (bool(logger.propagate), bool(logger.disabled))
    return (logger.level, *flags, tuple(logger.handlers), tuple(logger.filters))


def _content(logger: Any) -> tuple[Any, ...]:
    """What tells a logger from others whose handlers or filters cannot be stored."""
    handlers = [handler_parts(handler) or handler for handler in logger.handlers]
    return (*_look(logger)[:3], handlers, list(logger.filters))


def _make(logger: Any, level: int, propagate: bool, off: bool) -> None:
    logger.setLevel(level)
    logger.propagate, logger.disabled = propagate, off


def _is_capturing() -> bool:
    return logging._warnings_showwarning is not None  # type: ignore[attr-defined]


def handler_parts(handler: Any) -> tuple[Any, ...] | None:
    """A handler of the standard library as plain values; None for any other."""
    formatter = handler.formatter
    if handler.filters or (formatter is not None and type(formatter) is not logging.Formatter):
        return None
    form = None
    if formatter is not None:
        form = (formatter._fmt, formatter.datefmt, _STYLES[type(formatter._style)])
    if type(handler) is logging.NullHandler:
        return "null", None, handler.level, form
    if type(handler) is logging.FileHandler:
        options = (handler.encoding, getattr(handler, "errors", None))
        return "file", (stored_path(handler.baseFilename), *options), handler.level, form
    if type(handler) is logging.StreamHandler:
        for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
            if handler.stream is getattr(sys, name):
                return "stream", name, handler.level, form
    return None


def _handler(kind: str, where: Any, level: int, form: Any) -> logging.Handler:
    made: logging.Handler
    if kind == "file":
        # What was written is there; and no file is made before something is to be written.
        path = place_of(where[0])
        made = logging.FileHandler(path, "a", where[1], delay=True, errors=where[2])
        os.makedirs(os.path.dirname(path), exist_ok=True)
    elif kind == "stream":
        made = logging.StreamHandler(getattr(sys, where))
    else:
        made = logging.NullHandler()
    made.setLevel(level)
    if form is not None:
        made.setFormatter(logging.Formatter(form[0], form[1], form[2]))
    return made
