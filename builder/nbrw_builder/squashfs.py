"""Layers to one squashfs: the lower ones merged, each checkpoint appended. `docs/format/image.md`.

The bytes depend on the layers and the version of mksquashfs alone. What it wrote is read back
before it counts. Images of prefixes of the layer list are kept, so that a rebuild after an edit
appends what is new.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nbrw_builder.cache import prune, remember, remembered
from nbrw_builder.entry import Entry
from nbrw_builder.errors import BuildError, ProcessError
from nbrw_builder.files import copy_into, temporary_file
from nbrw_builder.layer import FIXED_TIME, Layer, normal_mode, write_content, write_tar
from nbrw_builder.process import run
from nbrw_runtime.digest import digest_json, digest_stream

_KEEP_BYTES = 20 << 30
_KEEP_FILES = 6
_TIMES = ("-all-time", str(FIXED_TIME), "-mkfs-time", str(FIXED_TIME))
# The search for duplicates writes damaged images: with tail ends packed, if files begin with the
# same blocks (fixed after 4.6.1: squashfs-tools 04d3bc80); after an offset, for large ones.
_OPTIONS = (
    "-all-root", "-root-mode", "0755", *_TIMES, "-no-xattrs", "-no-hardlinks", "-no-exports",
    "-no-duplicates", "-no-tailends", "-no-recovery", "-no-progress", "-quiet",
)  # fmt: skip
# With the time options above, mksquashfs refuses to run if this is set.
_WITHOUT = ("SOURCE_DATE_EPOCH",)
_FORMAT = 1


@dataclass(frozen=True)
class SquashfsCache:
    """Images of layer prefixes below ``root/squashfs``; ``level`` is zstd's."""

    root: Path
    level: int = 3

    def path(self, base: Sequence[Layer], appended: Sequence[Layer], tool: str) -> Path:
        """Where the image of these layers is kept."""
        ids = [[str(layer.diff_id) for layer in group] for group in (base, appended)]
        key = digest_json([_FORMAT, tool, self.level, _OPTIONS, ids])
        return self.root / "squashfs" / f"{key.hex}.squashfs"


@dataclass(frozen=True)
class _Target:
    """A named file that the squashfs fills from its byte ``offset`` on, and room for work."""

    stream: BinaryIO
    offset: int
    scratch: Path

    def make(
        self,
        sources: Iterable[str],
        *options: str,
        feed: Callable[[BinaryIO], object] | None = None,
    ) -> None:
        where = (self.stream.name, "-offset", str(self.offset))
        run(["mksquashfs", *sources, *where, *options, *_OPTIONS], feed=feed, without=_WITHOUT)

    def check(self, *paths: str) -> None:
        """Read these paths (without any: all) back. Raises BuildError if something is damaged."""
        try:
            read_back(Path(self.stream.name), self.offset, *paths)
        except ProcessError as error:
            raise BuildError(
                f"make the squashfs: what {_tool()} wrote cannot be read back "
                f"({' '.join(error.tail.split())}); use another version of squashfs-tools, or "
                "write an OCI image (-o oci:DIRECTORY)"
            ) from error

    def clear(self) -> None:
        self.stream.truncate(self.offset)
        self.stream.seek(self.offset)


def write_squashfs(
    layers: Sequence[Layer],
    stream: BinaryIO,
    scratch: Path,
    cache: SquashfsCache,
    progress: Callable[[str], None],
) -> None:
    """Write the squashfs of these layers, lowest first, at the end of a named file.

    Two images are kept: that of the lower layers, and that of all but the last two layers, which
    an edit of the last cell leaves as they are. Raises HostError, ProcessError, BuildError,
    IntegrityError, OSError.
    """
    base, appended = split(layers)
    tool = _tool()
    keep = {0, max(0, len(appended) - 2)}
    stream.flush()
    target = _Target(stream, stream.seek(0, os.SEEK_END), scratch)
    done = _start(base, appended, target, cache, tool)
    if done is None:
        progress("pack the environment")
        _make_base(base, target, cache.level)
        done = 0
        _keep(target, cache.path(base, (), tool))
    for number in range(done, len(appended)):
        layer = appended[number]
        progress(f"append {layer.name}")
        _append(layer, target)
        if number + 1 in keep:
            _keep(target, cache.path(base, appended[: number + 1], tool))
    prune(cache.root / "squashfs", _KEEP_BYTES, _KEEP_FILES)
    stream.seek(0, os.SEEK_END)


def read_back(path: Path, offset: int, *paths: str) -> None:
    """Decompress these paths (without any: all) of the squashfs that begins at ``offset``.

    Raises ProcessError if something is damaged, HostError (no unsquashfs).
    """
    quiet = ("-no-progress", "-quiet", "-no-xattrs", "-no-wildcards")
    where = ("-offset", str(offset), str(path))
    run(["unsquashfs", *quiet, "-pseudo-file", os.devnull, *where, *paths])


def split(layers: Sequence[Layer]) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """The layers to merge, and those above that can be appended.

    Appended are a layer with a directory of its own, and the recipe, if they share no top-level
    name with any other layer (mksquashfs would rename it).
    """
    tops = [{entry.path.split("/")[1] for entry in layer.entries} for layer in layers]
    cut = len(layers)
    while cut > 1:
        layer = layers[cut - 1]
        others = set().union(*(names for at, names in enumerate(tops) if at != cut - 1))
        own = bool(layer.directory) or layer.name == "recipe"
        if not own or not tops[cut - 1] or tops[cut - 1] & others:
            break
        cut -= 1
    return tuple(layers[:cut]), tuple(layers[cut:])


def merged(layers: Iterable[Layer]) -> tuple[Entry, ...]:
    """All entries sorted by path; of a path in several layers the topmost counts."""
    found: dict[str, Entry] = {}
    for layer in layers:
        found.update((entry.path, entry) for entry in layer.entries)
    return tuple(found[path] for path in sorted(found, key=os.fsencode))


def _start(
    base: Sequence[Layer],
    appended: Sequence[Layer],
    target: _Target,
    cache: SquashfsCache,
    tool: str,
) -> int | None:
    """Copy the longest prefix that is kept and unspoilt; how many appended layers it holds."""
    for count in range(len(appended), -1, -1):
        kept = cache.path(base, appended[:count], tool)
        if not kept.exists():
            continue
        with contextlib.suppress(OSError):
            digest = remembered(kept, _note(kept))
            if digest is not None:
                copy_into(kept, target.stream)
                remember(kept, _note(kept), digest)
                return count
        target.clear()
    return None


def _keep(target: _Target, kept: Path) -> None:
    # The cache is no promise: a host that refuses it (a full disk) loses time only.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(kept) as stream:
            copy_into(Path(target.stream.name), stream, target.offset)
            stream.seek(0)
            digest = digest_stream(stream)[0]
        remember(kept, _note(kept), digest)


def _note(kept: Path) -> Path:
    return kept.parent.with_name("squashfs-digests") / f"{kept.stem}.json"


def _make_base(layers: Sequence[Layer], target: _Target, level: int) -> None:
    entries = merged(layers)
    options = ("-tar", "-noappend", *_compression(level))
    target.make(["-"], *options, feed=lambda stream: write_tar(entries, stream))
    target.check()


def _append(layer: Layer, target: _Target) -> None:
    """Append a layer's top-level directories. mksquashfs reads them from a staged tree.

    Staged files are copies: a hard link would change the source's ctime, and so its stamp.
    """
    with tempfile.TemporaryDirectory(prefix="stage-", dir=target.scratch) as stage:
        for entry in layer.entries:
            _stage(entry, Path(stage + entry.path))
        tops = sorted({entry.path.split("/")[1] for entry in layer.entries}, key=os.fsencode)
        # A single source directory would give its content, not itself, as the root.
        target.make([f"{stage}/{top}" for top in tops], "-keep-as-directory")
    target.check(*tops)


def _stage(entry: Entry, path: Path) -> None:
    if entry.is_directory:
        path.mkdir()
    elif entry.target is not None:
        path.symlink_to(entry.target)
        return
    else:
        with open(path, "wb") as stream:
            write_content(entry, stream)
    path.chmod(normal_mode(entry))


def _compression(level: int) -> tuple[str, ...]:
    # mksquashfs' own default, 15, takes 60 times as long for a few per cent.
    return ("-comp", "zstd", "-Xcompression-level", str(level))


def _tool() -> str:
    """The version of mksquashfs: another one may give other bytes."""
    # Some versions end `-version` with status 1.
    return run(["mksquashfs", "-version"], ok=(0, 1)).partition("\n")[0]
