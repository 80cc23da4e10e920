"""What of the notebook's own is at work when a cell has ended."""

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from nbrw_runtime.still_running import still_running

NAMESPACE = {"threading": threading, "asyncio": asyncio, "go": threading.Event()}
exec(
    "def work():\n    go.wait(20)\n"
    "async def wait():\n    await asyncio.sleep(20)\n"
    "async def outer():\n    await wait()\n",
    NAMESPACE,
)


def running(directory="/nowhere"):
    """Their names."""
    return still_running(NAMESPACE, directory)


def until(condition):
    """Wait for it."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_pool_is_at_work_as_long_as_a_function_of_the_notebook_is():
    """Its idle threads are not."""
    NAMESPACE["go"].clear()
    assert running() == []
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        done = pool.submit(NAMESPACE["work"])
        until(lambda: running() == ["mine_0"])
        NAMESPACE["go"].set()
        done.result()
        until(lambda: running() == [])


def test_a_library_that_calls_the_notebook_is_at_work():
    """The notebook's function is deeper in the stack."""
    NAMESPACE["go"].clear()
    thread = threading.Thread(target=lambda: [NAMESPACE["work"]() for _ in [1]])
    thread.start()
    until(lambda: running() == [thread.name])
    NAMESPACE["go"].set()
    thread.join()
    assert running() == []


def test_a_module_of_the_notebooks_directory_counts(tmp_path):
    """Not what is installed there."""
    for place in (tmp_path, tmp_path / "venv/site-packages"):
        place.mkdir(exist_ok=True, parents=True)
        (place / "its_module.py").write_text("def work(go):\n    go.wait(20)\n")
        sys.path.insert(0, str(place))
        try:
            module = __import__("its_module")
        finally:
            sys.path.remove(str(place))
            del sys.modules["its_module"]
        go = threading.Event()
        thread = threading.Thread(target=module.work, args=(go,))
        thread.start()
        until(lambda thread=thread: thread.is_alive())
        time.sleep(0.05)
        assert running(str(tmp_path)) == ([thread.name] if place == tmp_path else [])
        go.set()
        thread.join()


def test_a_task_of_the_notebooks_event_loop_counts():
    """Also if it waits in another coroutine; tasks of others do not."""

    async def look():
        tasks = [asyncio.create_task(NAMESPACE["outer"](), name="mine")]
        tasks.append(asyncio.create_task(asyncio.sleep(20), name="another's"))
        await asyncio.sleep(0)
        found = running()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return found, running()

    assert asyncio.run(look()) == (["mine"], [])
