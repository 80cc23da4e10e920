"""What is private and never packaged unless asked for by its full path. Pure rules.

By place (keys, tokens, histories, settings of tools that log in somewhere) and, for small files, by
content (private keys). The rules are listed in `docs/dependencies.md`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_CREDENTIALS = "it holds credentials"
_HISTORY = "it is a history"
_SETTINGS = "it is a tool's own settings or state"

# Below a home directory: path from there -> why.
_HOME = {
    ".ssh": _CREDENTIALS, ".gnupg": _CREDENTIALS, ".pki": _CREDENTIALS, ".aws": _CREDENTIALS,
    ".azure": _CREDENTIALS, ".config/gcloud": _CREDENTIALS, ".kube": _CREDENTIALS,
    ".docker": _CREDENTIALS, ".config/containers": _CREDENTIALS, ".apptainer": _CREDENTIALS,
    ".singularity": _CREDENTIALS, ".netrc": _CREDENTIALS, "_netrc": _CREDENTIALS,
    ".pypirc": _CREDENTIALS, ".pgpass": _CREDENTIALS, ".my.cnf": _CREDENTIALS,
    ".git-credentials": _CREDENTIALS, ".gitconfig": _SETTINGS, ".config/git": _CREDENTIALS,
    ".config/gh": _CREDENTIALS, ".config/hub": _CREDENTIALS, ".config/rclone": _CREDENTIALS,
    ".config/pip": _SETTINGS, ".pip": _SETTINGS, ".condarc": _SETTINGS, ".s3cfg": _CREDENTIALS,
    ".boto": _CREDENTIALS, ".cdsapirc": _CREDENTIALS, ".ecmwfapirc": _CREDENTIALS,
    ".kaggle": _CREDENTIALS, ".huggingface": _CREDENTIALS, ".cache/huggingface/token": _CREDENTIALS,
    ".databrickscfg": _CREDENTIALS, ".snowflake": _CREDENTIALS, ".npmrc": _CREDENTIALS,
    ".cargo/credentials": _CREDENTIALS, ".cargo/credentials.toml": _CREDENTIALS,
    ".local/share/keyrings": _CREDENTIALS, ".password-store": _CREDENTIALS,
    ".mozilla": _CREDENTIALS, ".config/google-chrome": _CREDENTIALS,
    ".config/chromium": _CREDENTIALS, ".thunderbird": _CREDENTIALS, ".globus": _CREDENTIALS,
    ".globusonline": _CREDENTIALS, ".vault-token": _CREDENTIALS, ".wandb": _CREDENTIALS,
    ".config/wandb": _CREDENTIALS, ".config/dask/credentials": _CREDENTIALS,
    ".ipython": _SETTINGS, ".jupyter": _SETTINGS, ".local/share/jupyter": _SETTINGS,
    ".local/state": _SETTINGS, ".config/ipython": _SETTINGS, ".python_history": _HISTORY,
    ".bashrc": _SETTINGS, ".bash_profile": _SETTINGS, ".profile": _SETTINGS, ".zshrc": _SETTINGS,
    ".pam_environment": _SETTINGS, ".inputrc": _SETTINGS, ".vscode": _SETTINGS,
    ".vscode-server": _SETTINGS,
}  # fmt: skip

_NAMES = (
    (re.compile(r"id_(rsa|dsa|ecdsa|ed25519)(\.pub)?$"), "it is a key"),
    (re.compile(r".*\.(pem|key|p12|pfx|jks|keystore|kdbx)$"), "it looks like a key"),
    (re.compile(r"\.env(\..+)?$"), "it holds variables that are often secret"),
    (re.compile(r"\.netrc$|_netrc$|\.pgpass$|\.git-credentials$|\.htpasswd$"), _CREDENTIALS),
    (re.compile(r".*_?history$"), _HISTORY),
    (re.compile(r"(client_secret|credentials|service[-_]account).*\.json$"), _CREDENTIALS),
    (re.compile(r"secrets?\.(ya?ml|json|toml|ini)$"), _CREDENTIALS),
    (re.compile(r"\.?(auth|access|api)?_?tokens?(\.txt|\.json)?$"), _CREDENTIALS),
)
# Certificates of authorities are public, and needed for https.
_PUBLIC = re.compile(r"/(cacert|ca-bundle|ca-certificates|cert)\.(pem|crt)$|/ssl/certs/|/certifi/")
_CONTENT = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY( BLOCK)?-----")
# Settings of Dask's packages are part of what a notebook computes with, but for these.
_DASK = ".config/dask/"
_SECRET = re.compile(
    rb"(?im)^\s*[\w-]*(password|passwd|token|secret|api[-_]key)[\w-]*[ \t]*:"
    rb"[ \t]*(?!null\b|~)[^\s#]"
)
_SYSTEM = ("/etc/shadow", "/etc/gshadow", "/etc/ssh", "/etc/sudoers", "/etc/ssl/private",
           "/etc/krb5.keytab", "/etc/munge", "/root/.ssh")  # fmt: skip


def why_private(path: str, home: str, content: Callable[[], bytes] | None = None) -> str | None:
    """Why this file is not packaged, or None. ``content`` gives the bytes of a small file."""
    for top in _SYSTEM:
        if path == top or path.startswith(top + "/"):
            return _CREDENTIALS
    if _PUBLIC.search(path):
        return None
    inside = _below_home(path, home)
    if inside is not None:
        for place, reason in _HOME.items():
            if inside == place or inside.startswith(place + "/"):
                return reason
    name = path.rpartition("/")[2]
    for pattern, reason in _NAMES:
        if pattern.match(name):
            return reason
    text = content() if content is not None else b""
    if _CONTENT.search(text):
        return "it holds a private key"
    if inside is not None and inside.startswith(_DASK) and _SECRET.search(text):
        return _CREDENTIALS
    return None


def _below_home(path: str, home: str) -> str | None:
    for top in (home, *_homes(path)):
        if top not in ("", "/") and path.startswith(top + "/"):
            return path[len(top) + 1 :]
    return None


def _homes(path: str) -> tuple[str, ...]:
    """Home directories of others, told by where they usually are."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] in ("home", "Users"):
        return ("/".join(parts[:3]),)
    return ("/root",) if len(parts) > 1 and parts[1] == "root" else ()
