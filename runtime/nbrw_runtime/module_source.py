"""What the source of a module says: which others it may import, and what it asks of files. Pure."""

from __future__ import annotations

import ast
import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbrw_runtime.module_state import Definition, definitions
from nbrw_runtime.names import FILE_QUESTIONS, LISTING_WORDS, has_wildcard

_QUESTIONS = FILE_QUESTIONS | LISTING_WORDS


@dataclass(frozen=True)
class ModuleSource:
    """``digest`` stands for the content, ``imports`` are the modules that it may import."""

    digest: str = ""
    imports: tuple[str, ...] = ()
    text: bytes = field(default=b"", repr=False)

    # Looked at only for modules that a cell loaded: it takes ten times as long as the imports.

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """The words by which it asks for files (`names.py`)."""
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            return frozenset(_words(ast.parse(self.text)))
        return frozenset()

    @functools.cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """What it defines."""
        with contextlib.suppress(SyntaxError, ValueError, RecursionError):
            return definitions(self.text.decode())
        return ()


def module_source(data: bytes, name: str, path: str) -> ModuleSource:
    """What a module's file says. ``name`` is the module's, for imports that are relative to it."""
    is_package = os.path.basename(path) == "__init__.py"
    return _module_source(data, name if is_package else name.rpartition(".")[0])


def imports_of(data: bytes, name: str, path: str) -> tuple[str, ...]:
    """Names of modules that a file may import, and of what it imports from them."""
    return module_source(data, name, path).imports


@functools.lru_cache(maxsize=4096)
def _module_source(data: bytes, package: str) -> ModuleSource:
    return ModuleSource(imports=tuple(_imports(data, package)), text=data)


def _words(tree: ast.Module) -> Iterator[str]:
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in texts and has_wildcard(node.value):
            yield "glob"
        for word in (getattr(node, "attr", ""), getattr(node, "id", "")):
            if word in _QUESTIONS:
                yield word
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.name in _QUESTIONS)


def _imports(data: bytes, package: str) -> list[str]:
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *base.split(".")]).strip(
                    "."
                )
            found[base] = None
            found.update(dict.fromkeys(f"{base}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval"):
            found["importlib"] = None
    return [module.split(":")[0] for module in found if module]
