"""Fixtures that several folders of tests share."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import docker_helper
import site_helper
from nbrw_builder.rootfs import remove_tree

# How long an example takes says something of the machine and nothing of the law.
hypothesis.settings.register_profile("nbrw", deadline=None)
hypothesis.settings.load_profile("nbrw")

# A shell starts what runs in the background with these ignored, and children inherit it: then a
# test that sends one would wait for ever.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _usual = signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        signal.signal(_number, _usual)


# -- `.ci/run` runs the files in two processes (pytest-xdist) ----------------------------------


@functools.cache
def _takes_turns(path: Path) -> bool:
    """Whether a file's tests use the one site or Docker Engine that there is."""
    text = path.read_text(encoding="utf-8")
    return "pytest.mark.site" in text or "pytest.mark.docker" in text


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that the processes end at about the same time."""
    items.sort(
        key=lambda item: (
            not _takes_turns(item.path),
            not item.get_closest_marker("integration"),
        )
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests share what they built: a process takes whole files; one takes all that use the
    site or the Docker Engine.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "site and Docker" if _takes_turns(config.rootpath / path) else path

    return Files(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(autouse=True, scope="module")
def no_client_is_left():
    """Dask would ask it instead of its own schedulers, also in another file's tests."""
    yield
    module = sys.modules.get("distributed.client")
    if module is not None:
        for client in list(module.Client._instances):
            if client.status == "running" and not client.asynchronous:
                client.close()
        # Clients that do not end in the reverse order of their beginning leave it behind.
        sys.modules["dask"].config.config.pop("scheduler", None)


# -- what tests leave on the disk ----------------------------------------------------------------
# Images and the systems unpacked from them would take tens of gigabytes in one run.

#: What tests of several files share.
_FOR_ALL: set[Path] = set()


@pytest.fixture(autouse=True, scope="session")
def cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands keep what they may need again here, for all tests, and not in the user's home.

    The target site, which takes minutes to install, stays where it is.
    """
    place = site_helper.cache_directory()
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache"
    os.environ["TARGET_SITE_CACHE"] = str(place)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    return cache


@pytest.fixture(autouse=True, scope="module")
def room_for_others(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    cache_of_this_run: Path,
) -> Any:
    """What only a file's tests share goes when all of them have passed, and unpacked images."""
    base = tmp_path_factory.getbasetemp()
    before, failed = set(base.iterdir()), request.session.testsfailed
    yield
    for tree in (cache_of_this_run / "nbrw/rootfs").glob("?" * 64):
        with contextlib.suppress(OSError):
            remove_tree(tree)  # not if the other process runs it
    if request.session.testsfailed == failed:
        for place in set(base.iterdir()) - before - _FOR_ALL - {cache_of_this_run}:
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="session")
def site() -> site_helper.Site:
    """The target site, started if need be. Use with ``@pytest.mark.site``.

    Where it cannot be had it is an error in CI, where all of it must run, and a skip elsewhere.
    """
    reason = site_helper.why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return site_helper.start_site()


@pytest.fixture(scope="session")
def docker_host():
    """The address of a Docker Engine of our own. Use with ``@pytest.mark.docker``."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        if os.environ.get("CI"):
            pytest.fail("the tests need root and dockerd (package docker.io)")
        pytest.skip("needs root and dockerd (package docker.io)")
    with docker_helper.docker_engine() as address:
        yield address


@pytest.fixture(scope="session")
def climate_author(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Ada with her project and its image ``climate.sif``; what nbrw-build said of that."""
    from author import Author  # beside the tests that use it

    place = tmp_path_factory.mktemp("ada")
    _FOR_ALL.add(place)
    author = Author.make(place)
    return author, author.build("climate.sif")
