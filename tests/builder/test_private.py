"""Private files."""

import pytest

from nbrw_builder.private import why_private

HOME = "/home/ada"


@pytest.mark.parametrize(
    "path",
    [
        f"{HOME}/.ssh/id_rsa", f"{HOME}/.ssh/known_hosts", f"{HOME}/.aws/credentials",
        f"{HOME}/.netrc", f"{HOME}/.config/gcloud/x.json", f"{HOME}/.docker/config.json",
        f"{HOME}/.jupyter/jupyter_config.json", f"{HOME}/.ipython/profile_default/history.sqlite",
        f"{HOME}/.bash_history", f"{HOME}/proj/.env", f"{HOME}/proj/.env.local",
        f"{HOME}/proj/server.key", f"{HOME}/proj/credentials.json", f"{HOME}/proj/secrets.yaml",
        f"{HOME}/proj/token", f"{HOME}/.cache/huggingface/token", "/home/bob/.ssh/config",
        "/root/.aws/config", "/etc/shadow", "/etc/ssh/ssh_host_rsa_key", "/data/id_ed25519",
    ],
)  # fmt: skip
def test_keys_tokens_histories_and_settings_stay_behind(path):
    """By place and by name, in anybody's home."""
    assert why_private(path, HOME)


@pytest.mark.parametrize(
    "path",
    [
        f"{HOME}/proj/data.csv", f"{HOME}/proj/environment.yml", f"{HOME}/proj/keys.csv",
        f"{HOME}/env/lib/python3.11/site-packages/certifi/cacert.pem", "/etc/ssl/certs/ca.pem",
        "/etc/ssl/certs/ca-certificates.crt", f"{HOME}/proj/tokens.parquet",
        f"{HOME}/proj/history.csv", "/share/project/table.parquet",
    ],
)  # fmt: skip
def test_data_and_public_certificates_are_not_private(path):
    """A rule that is too wide would break notebooks."""
    assert why_private(path, HOME) is None


def test_a_private_key_is_known_by_its_content():
    """Whatever its name; other text is not."""
    key = b"x\n-----BEGIN RSA PRIVATE KEY-----\nMII"
    assert why_private("/data/notes.txt", HOME, lambda: key) == "it holds a private key"
    assert why_private("/data/notes.txt", HOME, lambda: b"BEGIN PUBLIC KEY") is None


@pytest.mark.parametrize(
    ("text", "private"),
    [
        (b"gateway:\n  auth:\n    kwargs:\n      password: 'x'\n", True),
        (b"api-token: abc\n", True),
        (b"jobqueue:\n  slurm:\n    queue: main\n", False),
        (b"gateway:\n  password: null  # ask\n  # token: see below\n  token:\n", False),
    ],
)
def test_settings_of_dask_stay_behind_if_they_hold_secrets(text, private):
    """Others are part of what a notebook computes with."""
    found = why_private(f"{HOME}/.config/dask/any.yaml", HOME, lambda: text)
    assert bool(found) == private
    assert why_private(f"{HOME}/proj/any.yaml", HOME, lambda: text) is None
