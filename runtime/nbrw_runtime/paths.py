"""Where the author's paths are in the image. `docs/design.md`, section 3."""

from __future__ import annotations

RELOCATED_ROOT = "/nbrw/root"
SYSTEM_DIRECTORIES = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/sbin",
    "/usr", "/nbrw",
)  # fmt: skip


def is_system(path: str) -> bool:
    """Whether an absolute path keeps its place in the image."""
    return any(path == top or path.startswith(top + "/") for top in SYSTEM_DIRECTORIES)


def is_software(path: str) -> bool:
    """Whether what was read once stays loaded: code, libraries, settings."""
    name = path.rpartition("/")[2]
    if name.endswith((".py", ".pyc", ".pth", ".cfg", ".toml")) or ".so" in name:
        return True
    return is_system(path) or is_installed(path) or any(p[:1] == "." for p in path.split("/"))


def is_installed(path: str) -> bool:
    """Whether a path is in a Python installation."""
    return "-packages/" in path or "/lib/python" in path


def image_path(path: str) -> str:
    """Where a path of the author's host is in the image."""
    return path if is_system(path) else RELOCATED_ROOT + path
