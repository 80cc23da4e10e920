"""The climate example in the present directory, executed: ``plain`` by nbclient, or ``audited``.

Audited means all that comes before packing: the kernel under the tracer, and a checkpoint after
each cell.
"""

import sys
from pathlib import Path

NOTEBOOK = "climate.ipynb"


def plain() -> None:
    """As ``jupyter execute`` does it."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": "."}}).execute()


def audited() -> None:
    """As ``nbrw-build --fresh`` does it."""
    from nbrw_builder import audit
    from nbrw_builder.progress import Progress

    with audit.audited(audit.AuditRequest(Path(NOTEBOOK), fresh=True), Progress()):
        pass


if __name__ == "__main__":
    {"plain": plain, "audited": audited}[sys.argv[1]]()
