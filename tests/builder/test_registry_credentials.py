"""Where credentials are looked for, and whose they are."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from nbrw_builder.registry.credentials import credential_files, find_credentials
from nbrw_builder.registry.reference import parse_reference

TARGET = parse_reference("docker://reg.org/team/nb:v1")


def entry(name):
    return {"auth": base64.b64encode(f"{name}:secret of {name}".encode()).decode()}


def config(path, **value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def who(home, reference=TARGET, **variables):
    found = find_credentials(reference, variables, home).credentials
    return found and (found.username or found.token)


def test_the_callers_choice_comes_first_then_docker_apptainer_and_podman(tmp_path):
    """Each is found where the one before it has nothing."""
    variables = {"REGISTRY_AUTH_FILE": str(tmp_path / "named"), "XDG_RUNTIME_DIR": str(tmp_path)}
    files = credential_files(variables, tmp_path)
    for number, path in reversed(list(enumerate(files))):
        config(path, auths={"reg.org": entry(f"user{number}")})
        assert who(tmp_path, **variables) == f"user{number}"
    assert len(files) == 6


def test_docker_config_is_another_directory(tmp_path):
    """As for Docker itself."""
    config(tmp_path / ".docker/config.json", auths={"reg.org": entry("usual")})
    config(tmp_path / "other/config.json", auths={"reg.org": entry("other")})
    assert who(tmp_path) == "usual"
    assert who(tmp_path, DOCKER_CONFIG=str(tmp_path / "other")) == "other"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["reg.org", "reg.org/team", "reg.org/team/nb"], "reg.org/team/nb"),
        (["reg.org", "reg.org/team", "reg.org/team/nbx"], "reg.org/team"),
        (["https://reg.org/v2/"], "https://reg.org/v2/"),
        (["reg.org:443", "xreg.org", "reg.org.evil", "reg.org/other"], None),
    ],
)
def test_the_narrowest_entry_counts_and_no_other_hosts(tmp_path, keys, found):
    """podman's are as narrow as a repository; Docker's may be addresses."""
    users = {key: entry(f"user{number}") for number, key in enumerate(keys)}
    config(tmp_path / ".docker/config.json", auths=users)
    assert who(tmp_path) == (found and f"user{keys.index(found)}")


def test_docker_hubs_entry_has_an_address_for_a_name(tmp_path):
    """As `docker login` writes it."""
    config(tmp_path / ".docker/config.json", auths={"https://index.docker.io/v1/": entry("hub")})
    assert who(tmp_path, parse_reference("docker://team/nb")) == "hub"
    assert who(tmp_path) is None


def test_an_identity_token_stands_for_a_password(tmp_path):
    """It is exchanged for a token when it is used."""
    config(tmp_path / ".docker/config.json", auths={"reg.org": {"identitytoken": "abc"}})
    assert who(tmp_path) == "abc"


def helper(place, name, script):
    path = place / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_store_of_all_credentials_is_asked_for_this_host(tmp_path, monkeypatch):
    """And one that has none is no error."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    answer = '{"Username": "kept", "Secret": "x"}'
    none = "echo credentials not found in native keychain; exit 1"
    helper(tmp_path, "s", f"read h; if [ \"$h\" = reg.org ]; then echo '{answer}'; else {none}; fi")
    config(tmp_path / ".docker/config.json", auths={"reg.org": {}}, credsStore="s")
    assert who(tmp_path) == "kept"
    assert find_credentials(parse_reference("docker://x.org/a"), {}, tmp_path).problems == ()


def test_what_cannot_be_read_is_told_without_its_content(tmp_path, monkeypatch):
    """A spoilt file, entries that are none, a helper that is not there; the next file counts."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    path = tmp_path / ".docker/config.json"
    path.write_text('{"auths": {"reg.org": {"auth": "topsecret"')
    config(tmp_path / ".singularity/docker-config.json", auths={"reg.org": entry("next")})
    found = find_credentials(TARGET, {}, tmp_path)
    assert found.credentials.username == "next"
    assert found.problems == (f"{path} cannot be read: it is no JSON",)
    config(path, auths={"reg.org": {"auth": "%%topsecret"}})
    assert "entries that are no credentials" in find_credentials(TARGET, {}, tmp_path).problems[0]
    config(path, credsStore="gone")
    (problem,) = find_credentials(TARGET, {}, tmp_path).problems
    assert "docker-credential-gone" in problem and "not installed" in problem
    assert "topsecret" not in problem


def test_credentials_do_not_show(tmp_path):
    """Not in a traceback either."""
    config(tmp_path / ".docker/config.json", auths={"reg.org": entry("ada")})
    text = repr(find_credentials(TARGET, {}, tmp_path))
    assert "secret" not in text and "ada" not in text
