"""Runs inside an image: starts its repeat kernel under a read watch, and prints what one cell used.

Also keeps a result in the caller's store, and says how many were there before. Prints JSON.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.append("/nbrw/runtime")
from nbrw_runtime.accesses import used
from nbrw_runtime.caller_store import open_caller_store
from nbrw_runtime.checkpoint import Checkpoint
from nbrw_runtime.cli import _recipe
from nbrw_runtime.execute import started
from nbrw_runtime.image_software import image_software
from nbrw_runtime.notebook import code_cells
from nbrw_runtime.read_watch import ReadWatch
from nbrw_runtime.repeat_kernel import kernel_argv, kernel_environment, prepare_session
from nbrw_runtime.result import Result, environment_digest
from nbrw_runtime.view import open_view

CELL = """
import subprocess
print(subprocess.check_output(["cat", "input.txt"], text=True))
try: open("missing")
except OSError: pass
open("output.txt", "w").write("x")
"""
recipe = _recipe()
scratch = Path(tempfile.mkdtemp())
with open_caller_store(scratch) as store:
    environment, key = environment_digest(recipe), "ab" * 32
    before = len(store.find(environment, key))
    checkpoint = Checkpoint(1, recipe.cells[0].digest, outputs=store.blobs.put(b"outputs"))
    store.keep(Result(environment, key, checkpoint))
    view = open_view(recipe.environment.cwd, Path.cwd(), [])
    software = image_software(Path("/proc/self/mountinfo").read_text(), os.getcwd())
    session, _ = prepare_session(recipe, code_cells(recipe.notebook), view.cwd, scratch)
    with ReadWatch(scratch / "watch", [str(scratch)], software) as watch:
        argv = kernel_argv(recipe, session, watch.socket_path)
        variables = kernel_environment(recipe, scratch)
        with started(argv, view.cwd, variables, scratch / "log") as kernel:
            why_not = watch.why_not
            watch.take()
            outputs = kernel.run(1, CELL, 120)
            found = used(watch.take())
    print(
        json.dumps(
            {
                "found": before,
                "store": store.why_not,
                "notes": store.notes,
                "watch": why_not,
                "error": outputs.error,
                "read": sorted(os.path.basename(path) for path in found.read),
                "missing": [os.path.basename(p) for p, stamp in found.read.items() if not stamp],
                "written": sorted(os.path.basename(path) for path in found.written),
                "unseen": found.unseen,
            }
        )
    )
