"""Package URLs: names of packages that scanners of vulnerabilities and licences look up. Pure.

Source: ECMA-427 (purl), and the types pypi, conda, deb and rpm of the purl-spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote


def purl(
    kind: str,
    name: str,
    version: str = "",
    namespace: str = "",
    qualifiers: Mapping[str, str] | None = None,
) -> str:
    """The canonical package URL; qualifiers without a value are left out.

    The name is taken as it is: types that want another spelling (pypi) are the caller's affair.
    """
    parts = [kind, *(part for part in namespace.split("/") if part), name]
    text = "pkg:" + "/".join(map(_quoted, parts))
    if version:
        text += "@" + _quoted(version)
    kept = sorted((key, value) for key, value in (qualifiers or {}).items() if value)
    if kept:
        text += "?" + "&".join(f"{key}={_quoted(value, '/')}" for key, value in kept)
    return text


def _quoted(text: str, safe: str = "") -> str:
    return quote(text, safe=safe).replace("%3A", ":")
