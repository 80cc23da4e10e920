"""Messages of a kernel to the outputs of a cell, in nbformat's form. Pure.

Source: Jupyter messaging protocol 5.4, "Messages on the IOPub channel"; nbformat 4.5, "outputs".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BACK = re.compile(r"[^\n]\x08")


class CellOutputs:
    """Collects the outputs of one cell. Streams of a name are one output, at its first place.

    ``displays`` are those of the cells before, by their ids: this one may change them. ``strange``:
    it has changed one that none of them has.
    """

    def __init__(self, displays: dict[str, list[dict[str, Any]]] | None = None) -> None:
        self.outputs: list[dict[str, Any]] = []
        self.strange = False
        self._clear_next = False
        self._displays = {} if displays is None else displays

    def add(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take one message; kinds that are no output are ignored."""
        if kind == "clear_output":
            if content.get("wait"):
                self._clear_next = True
            else:
                self._clear()
            return
        if kind == "update_display_data":
            self._update(content)
            return
        made = self._made(kind, content)
        if made is None:
            return
        if self._clear_next:
            self._clear()
        if kind == "stream":
            for out in self.outputs:
                if out["output_type"] == "stream" and out["name"] == content["name"]:
                    out["text"] = carriage(out["text"] + content["text"])
                    return
            made["text"] = carriage(made["text"])
        self.outputs.append(made)
        name = (content.get("transient") or {}).get("display_id")
        if name:
            self._displays.setdefault(name, []).append(made)
            self._update(content)

    def _made(self, kind: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
        if kind == "stream":
            return {"output_type": kind, "name": content["name"], "text": content["text"]}
        if kind == "display_data":
            return {"output_type": kind, "data": content["data"], "metadata": content["metadata"]}
        if kind == "execute_result":
            return {
                "output_type": kind, "data": content["data"], "metadata": content["metadata"],
                "execution_count": content.get("execution_count"),
            }  # fmt: skip
        if kind == "error":
            return {
                "output_type": kind, "ename": content["ename"], "evalue": content["evalue"],
                "traceback": content["traceback"],
            }  # fmt: skip
        return None

    def _update(self, content: Mapping[str, Any]) -> None:
        name = str((content.get("transient") or {}).get("display_id"))
        self.strange = self.strange or name not in self._displays
        for out in self._displays.get(name, ()):
            out["data"] = content["data"]
            out["metadata"] = content["metadata"]

    def _clear(self) -> None:
        self._clear_next = False
        self.outputs.clear()

    @property
    def error(self) -> dict[str, Any] | None:
        """The error the cell ended with, if any."""
        errors = [out for out in self.outputs if out["output_type"] == "error"]
        return errors[-1] if errors else None


def carriage(text: str) -> str:
    """Text after its backspaces and carriage returns, as a terminal would show it."""
    while "\x08" in text:
        shorter = _BACK.sub("", text)
        if shorter == text:
            break
        text = shorter
    if "\r" not in text:
        return text
    # By lines: a pattern would look for the return from every place of a line anew.
    return "\n".join(_returned(line) for line in text.split("\n"))


def _returned(line: str) -> str:
    """What follows the last carriage return after which there is anything."""
    return line[line.rfind("\r", 0, max(0, len(line) - 1)) + 1 :]
