"""What workers stored of a cell's tasks is gathered: one document, one blob of small results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbrw_runtime.digest import Digest, digest_bytes
from nbrw_runtime.errors import FormatError
from nbrw_runtime.records import from_json
from nbrw_runtime.store import DirectoryStore
from nbrw_runtime.task_cutoff import DATA, Facts
from nbrw_runtime.task_record import TaskRecord, either, read_lines, write_tasks

_SPOILED = "a task that uses it changes it in place"


@dataclass
class TaskCollector:
    """Reads what workers append in the spool, from where it was the last time.

    ``known`` finds tasks of earlier cells and kernels; ``foreign`` says why objects of classes are
    none of the notebook's. ``spared`` are tasks that did not run, as their inputs came to the same,
    with the seconds that they would have taken.
    """

    spool: Path
    known: Callable[[str], TaskRecord | None] = lambda fingerprint: None
    foreign: Callable[[tuple[str, ...]], str] = lambda classes: ""
    spared: dict[str, float] = field(default_factory=dict)
    _offsets: dict[Path, int] = field(default_factory=dict)

    def collect(
        self,
        store: DirectoryStore,
        facts: Mapping[str, Facts] | None = None,
        ingredients: Mapping[str, dict[str, str]] | None = None,
        values: Mapping[str, Digest] | None = None,
    ) -> tuple[Digest, tuple[Digest, ...]] | None:
        """New records as a document in the store, and the blobs that they need; None: no new ones.

        ``facts``: by fingerprint; so are the ``ingredients`` of some tasks, and the blobs of those
        results that were stored as ``values`` of futures. Raises StorageError.
        """
        found: dict[str, TaskRecord] = {}
        payloads: dict[str, bytes] = {}
        for value, record, payload in self._new():
            if not all(blob in store for blob in record.buffers):
                continue  # a worker elsewhere wrote it, and it is not to be seen here
            for other in self._spoiled(value, facts or {}):
                found[other] = TaskRecord(other, refused=_SPOILED, unsafe=True)
            known = found.get(record.fingerprint)
            why_not = self.foreign(record.classes) if record.classes else ""
            if why_not:
                record = TaskRecord(
                    record.fingerprint, record.label, record.seconds,
                    reads=record.reads, refused=why_not,
                )  # fmt: skip
                payload = b""
            more = (facts or {}).get(record.fingerprint)
            if more is not None:
                record = replace(record, local=more.local, inputs=more.inputs)
            found[record.fingerprint] = record if known is None else either(known, record)
            if payload:
                payloads[record.digest] = payload
        if not found:
            return None
        for fingerprint in found.keys() & (ingredients or {}).keys():
            made_of = (ingredients or {})[fingerprint]
            found[fingerprint] = replace(found[fingerprint], ingredients=made_of)
        for fingerprint in found.keys() & (values or {}).keys():
            if found[fingerprint].digest:
                found[fingerprint] = replace(found[fingerprint], value=(values or {})[fingerprint])
        segment = bytearray()
        placed = []
        for _, record in sorted(found.items()):
            if record.digest in payloads:
                offset = len(segment)
                segment += payloads[record.digest]
                record = replace(record, offset=offset)
            placed.append(record)
        where = store.put(bytes(segment)) if segment else None
        records = [replace(r, segment=where) if r.digest in payloads else r for r in placed]
        blobs = {blob for record in records for blob in record.buffers}
        blobs.update(record.segment for record in records if record.segment is not None)
        return store.put(write_tasks(records)), tuple(sorted(blobs))

    def _new(self) -> Iterator[tuple[dict[str, Any], TaskRecord, bytes]]:
        for path in sorted(self.spool.glob("*.jsonl")):
            with open(path, "rb") as stream:
                stream.seek(self._offsets.get(path, 0))
                data = stream.read()
            whole = data.rfind(b"\n") + 1
            self._offsets[path] = self._offsets.get(path, 0) + whole
            with open(path.with_suffix(".seg"), "rb") as payloads:
                for value in read_lines(data[:whole]):
                    found = self._same(value) if "same" in value else _record(value, payloads)
                    if found is not None:
                        yield value, *found

    def _spoiled(self, value: dict[str, Any], facts: Mapping[str, Facts]) -> Iterator[str]:
        """The inputs that a task changed in place: whoever comes later does not get what they
        stand for.
        """
        task = facts.get(value["fingerprint"])
        inputs = task.inputs if task is not None else ()
        for number in value.get("spoils", ()):
            if number < len(inputs) and not inputs[number].startswith(DATA):
                yield inputs[number]

    def _same(self, value: dict[str, Any]) -> tuple[TaskRecord, bytes] | None:
        known = self.known(str(value["same"]))
        if known is None or not known.is_stored:
            return None
        self.spared[value["fingerprint"]] = known.seconds
        return replace(known, fingerprint=value["fingerprint"]), b""


def _record(value: dict[str, Any], payloads: Any) -> tuple[TaskRecord, bytes] | None:
    value.pop("segment", None)
    value["buffers"] = [f"sha256:{digits}" for digits in value.get("buffers", ())]
    try:
        record = from_json(TaskRecord, value, "a worker's record")
    except FormatError:
        return None
    payload = b""
    if record.digest:
        payloads.seek(record.offset)
        payload = payloads.read(record.length)
        if digest_bytes(payload).hex != record.digest:
            return None  # the disk was full, or the worker was killed
    return record, payload
