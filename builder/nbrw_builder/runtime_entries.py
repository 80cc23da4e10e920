"""The image's own scripts, from templates: what engines start, Python's entry, the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nbrw_builder.entry import Entry
from nbrw_builder.templates import batch_templates, render

_SINGULARITY = "/.singularity.d"


def runtime_support_entries(
    python: str,
    library_path: Sequence[str],
    variables: Mapping[str, str],
    *,
    title: str,
    labels: Mapping[str, str],
) -> tuple[Entry, ...]:
    """Scripts and settings for an image whose interpreter is at ``python``."""
    runscript = render("runscript.sh.j2")
    programs = {
        f"{_SINGULARITY}/runscript": runscript,
        "/nbrw/bin/nbrw": runscript,
        "/nbrw/bin/python": render("python.sh.j2", python=python, library_path=list(library_path)),
        f"{_SINGULARITY}/env/90-environment.sh": render(
            "90-environment.sh.j2", variables=dict(variables)
        ),
        f"{_SINGULARITY}/env/99-base.sh": render("99-base.sh.j2"),
    }
    texts = {
        f"{_SINGULARITY}/runscript.help": render("runscript.help.j2", title=title),
        f"{_SINGULARITY}/labels.json": render("labels.json.j2", labels=dict(labels)),
        "/nbrw/share/jupyter/kernels/nbrw-repeat/kernel.json": render(
            "kernelspec-repeat.json.j2", title=title
        ),
    }
    entries = [Entry(path, 0o755, data=text.encode()) for path, text in programs.items()]
    entries += [Entry(path, 0o644, data=text.encode()) for path, text in texts.items()]
    entries += [
        Entry(f"/nbrw/share/batch/{path.name}", 0o644, data=path.read_bytes())
        for path in batch_templates()
    ]
    return tuple(entries)
