"""IPython's own state that cells set: extensions, aliases, magics, precision, the inline backend.

What cannot be brought back (callbacks, transformers, magics with a memory) is recorded as lost:
the cell that registered it is run again.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any

from nbrw_runtime.codec_kinds import Lost

_TRANSFORMERS = ("ast_transformers", "input_transformers_cleanup", "input_transformers_post")
_INLINE = {
    "figure_formats": {"png"}, "close_figures": True, "rc": {},
    "print_figure_kwargs": {"bbox_inches": "tight"},
}  # fmt: skip


class Shell:
    """The shell of this kernel, as it was at the start; without one there is nothing to say."""

    def __init__(self) -> None:
        main = vars(sys.modules["__main__"])
        getter = main.get("get_ipython")
        self.shell: Any = getter() if callable(getter) else None
        if self.shell is None:
            return
        self.extensions = set(self.shell.extension_manager.loaded)
        self.aliases = dict(self.shell.alias_manager.aliases)
        self.known = {id(hook): hook for _, hook in self._hooks()}
        self.magics = {
            id(found): found for table in self._magics().values() for found in table.values()
        }

    def parts(self) -> dict[str, tuple[Callable[[], Any], Callable[[Any], None]]]:
        """Name -> (reader, setter)."""
        if self.shell is None:
            return {}
        return {
            "IPython.extensions": (self._get_extensions, self._set_extensions),
            "IPython.aliases": (self._get_aliases, self._set_aliases),
            "IPython.magics": (self._get_magics, self._set_magics),
            "IPython.precision": (self._get_precision, self._set_precision),
            "IPython.hooks": (self._get_hooks, lambda value: None),
            "inline": (self._get_inline, self._set_inline),
        }

    # -- extensions, aliases, precision --------------------------------------------------------

    def _get_extensions(self) -> Any:
        return sorted(self.shell.extension_manager.loaded - self.extensions) or None

    def _set_extensions(self, value: Any) -> None:
        manager = self.shell.extension_manager
        for name in set(manager.loaded) - self.extensions - set(value or ()):
            manager.unload_extension(name)
        for name in value or ():
            if manager.load_extension(name) == "no load function":
                raise ImportError(f"{name} is not an extension of IPython")

    def _get_aliases(self) -> Any:
        now = self.shell.alias_manager.aliases
        if len(now) == len(self.aliases) and all(self.aliases.get(n) == text for n, text in now):
            return None
        changed = {name: text for name, text in now if self.aliases.get(name) != text}
        return changed, sorted(set(self.aliases) - {name for name, _ in now})

    def _set_aliases(self, value: Any) -> None:
        if value is None and self._get_aliases() is None:
            return
        changed, gone = value or ({}, [])
        manager = self.shell.alias_manager
        for name, _ in manager.aliases:
            if name not in self.aliases and name not in changed:
                manager.undefine_alias(name)
        for name, text in {**self.aliases, **changed}.items():
            manager.define_alias(name, text)
        for name in gone:
            manager.undefine_alias(name)

    def _get_precision(self) -> Any:
        return self.shell.display_formatter.formatters["text/plain"].float_precision or None

    def _set_precision(self, value: Any) -> None:
        formatter = self.shell.display_formatter.formatters["text/plain"]
        if formatter.float_precision != (value or ""):
            formatter.float_precision = value or ""

    # -- functions of the notebook that IPython calls ------------------------------------------

    def _magics(self) -> dict[str, dict[str, Any]]:
        return self.shell.magics_manager.magics

    def _get_magics(self) -> Any:
        found: dict[str, dict[str, Any]] = {}
        why = ""
        for kind, table in self._magics().items():
            if self.magics.keys() >= set(map(id, table.values())):
                continue
            for name, function in table.items():
                if getattr(function, "__module__", "") != "__main__":
                    continue
                if getattr(function, "__closure__", None) or getattr(function, "__self__", None):
                    why = why or f"the magic %{name} of the notebook has a memory of its own"
                found.setdefault(kind, {})[name] = function
        return Lost(why, content=found) if why else found or None

    def _set_magics(self, value: Any) -> None:
        for kind, table in self._magics().items():
            for name in list(table):
                if getattr(table[name], "__module__", "") == "__main__":
                    del table[name]
            table.update((value or {}).get(kind, {}))

    def _hooks(self) -> list[tuple[str, Any]]:
        shell = self.shell
        found = [
            (f"a callback of {event}", hook)
            for event, hooks in shell.events.callbacks.items()
            for hook in hooks
        ]
        for name in _TRANSFORMERS:
            found += [(f"one of {name}", hook) for hook in getattr(shell, name, ())]
        for formatter in shell.display_formatter.formatters.values():
            found += [
                (f"a way to show {getattr(kind, '__name__', kind)}", hook)
                for kind, hook in formatter.type_printers.items()
            ]
        return found

    def _hook_ids(self) -> set[int]:
        shell = self.shell
        found = set(map(id, itertools.chain.from_iterable(shell.events.callbacks.values())))
        for name in _TRANSFORMERS:
            found.update(map(id, getattr(shell, name, ())))
        for formatter in shell.display_formatter.formatters.values():
            found.update(map(id, formatter.type_printers.values()))
        return found

    def _get_hooks(self) -> Any:
        if self.known.keys() >= self._hook_ids():
            return None
        theirs = [
            (what, hook)
            for what, hook in self._hooks()
            if id(hook) not in self.known and _is_of_notebook(hook)
        ]
        if not theirs:
            self.known.update((id(hook), hook) for _, hook in self._hooks())
            return None
        what = f"{theirs[0][0]} that the notebook registered with IPython"
        return Lost(what, content=theirs)

    # -- the inline backend of matplotlib ------------------------------------------------------

    def _backend(self) -> Any:
        config = sys.modules.get("matplotlib_inline.config")
        kind = getattr(config, "InlineBackend", None)
        return kind.instance() if kind is not None and kind.initialized() else None

    def _get_inline(self) -> Any:
        backend = self._backend()
        if backend is None:
            return None
        now = {name: getattr(backend, name) for name in _INLINE}
        changed = {name: value for name, value in now.items() if value != _INLINE[name]}
        return changed or None

    def _set_inline(self, value: Any) -> None:
        backend = self._backend()
        if backend is None:
            if not value:
                return
            from matplotlib_inline.config import InlineBackend

            backend = InlineBackend.instance(parent=self.shell)
            backend.shell = self.shell
        for name, setting in {**_INLINE, **(value or {})}.items():
            if getattr(backend, name) != setting:
                setattr(backend, name, setting)


def _is_of_notebook(hook: Any) -> bool:
    owner = getattr(hook, "__self__", None)
    module = getattr(hook, "__module__", "")
    return module == "__main__" or type(owner).__module__ == "__main__"
