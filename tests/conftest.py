"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os

import pytest

import site_helper


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
