"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest

import docker_helper
import site_helper

# A shell starts what runs in the background with these ignored, and children inherit it: then a
# test that sends one would wait for ever.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _usual = signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        signal.signal(_number, _usual)


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
