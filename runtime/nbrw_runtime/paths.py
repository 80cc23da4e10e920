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


def author_path(path: str) -> str:
    """The inverse of :func:`image_path`."""
    if path.startswith(RELOCATED_ROOT + "/"):
        return path[len(RELOCATED_ROOT) :]
    return path


def link_point(path: str) -> str:
    """The path at which the image has a symbolic link that leads to a relocated path.

    ``/home/ada/env/bin`` -> ``/home/ada/env``, ``/scratch/x/y`` -> ``/scratch/x``: deep enough that
    mounts usual at run time (the caller's home, ``/tmp``) still find a real directory.
    """
    parts = path.split("/")
    depth = 4 if parts[1] in ("home", "Users", "var", "mnt", "media") else 3
    return "/".join(parts[: min(depth, len(parts))])
