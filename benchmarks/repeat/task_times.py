"""When workers of a plain run execute which tasks: a preload of Dask's.

    DASK_DISTRIBUTED__WORKER__PRELOAD=.../task_times.py TASK_TIMES=DIRECTORY

A file for each worker, a line of JSON for each task: `ideal.Ran`.
"""

import json
import os
import uuid


def dask_setup(worker):
    """A worker starts."""
    from dask._task_spec import Task
    from dask.utils import key_split
    from distributed.diagnostics.plugin import WorkerPlugin

    path = os.path.join(os.environ["TASK_TIMES"], f"{uuid.uuid4().hex}.jsonl")

    class Times(WorkerPlugin):
        name = "task-times"

        def transition(self, key, start, finish, **options):
            task = worker.state.tasks[key]
            if (start, finish) != ("executing", "memory") or type(task.run_spec) is not Task:
                return
            times = [part for part in task.startstops if part["action"] == "compute"]
            line = {
                "key": str(key),
                "label": key_split(key),
                "texts": [word for word in task.run_spec.args if isinstance(word, str)],
                "above": sorted(str(other.key) for other in task.dependencies),
                "start": times[-1]["start"],
                "stop": times[-1]["stop"],
            }
            with open(path, "a") as stream:
                stream.write(json.dumps(line) + "\n")

    worker.loop.add_callback(worker.plugin_add, Times(), catch_errors=False)
