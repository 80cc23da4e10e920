"""Which directories stand in for the caller's in a contained run: `nbrw run --contain`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbrw_builder.sandbox_tree import outermost


@dataclass(frozen=True)
class Apart:
    """``sources`` are the directories to show, by the path they are shown at; ``inside`` are paths
    below one of these that are shown as they are, each with a directory to be mounted on.
    """

    sources: dict[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()


def keep_apart(scratch: Path, paths: Iterable[str], directory: str) -> Apart:
    """Empty directories below ``scratch`` for each of ``paths``, but for the work directory.

    A path that is the work ``directory``, or lies in it, is shown as it is: what the caller works
    in is meant to be seen.
    """
    paths = [path for path in paths if not _within(path, directory)]
    sources = {}
    for number, path in enumerate(outermost(paths)):
        place = scratch / str(number)
        place.mkdir()
        # Anybody may write to /tmp; who is somebody else in there (a daemon's user), too.
        place.chmod(0o1777 if path in ("/tmp", "/var/tmp") else 0o755)
        sources[path] = str(place)
    inside = []
    for path in [*paths, directory]:
        top = next((top for top in sources if path != top and _within(path, top)), None)
        if top is not None:
            Path(sources[top] + path[len(top) :]).mkdir(parents=True, exist_ok=True)
            if path == directory:
                inside.append(path)
    return Apart(sources, tuple(inside))


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")
