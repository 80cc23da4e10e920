"""What workers really execute: a preload of Dask's that appends a line for each task.

    DASK_DISTRIBUTED__WORKER__PRELOAD=.../executed_tasks.py

The lines (label, name of the function that the worker called) are in `tasks executed/`, beside
the caches in ``XDG_CACHE_HOME``: what lies there is no result of a notebook's.
"""

import json
import os
import uuid

DIRECTORY = "tasks executed"


def dask_setup(worker):
    """A worker starts."""
    from dask._task_spec import Task
    from dask.utils import key_split
    from distributed.diagnostics.plugin import WorkerPlugin

    place = os.path.join(os.environ["XDG_CACHE_HOME"], DIRECTORY)
    os.makedirs(place, exist_ok=True)
    path = os.path.join(place, uuid.uuid4().hex)

    class Log(WorkerPlugin):
        name = "executed-tasks"

        def transition(self, key, start, finish, **options):
            node = worker.state.tasks[key].run_spec if finish == "executing" else None
            if type(node) is Task:
                with open(path, "a") as stream:
                    stream.write(json.dumps([key_split(key), node.func.__qualname__]) + "\n")

    worker.loop.add_callback(worker.plugin_add, Log(), catch_errors=False)
