"""Which licence metadata name: an SPDX expression if that is certain, else their words. Pure.

Source: PyPA core metadata (License-Expression, License, Classifier), SPDX 2.3 annex D.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

_LONGEST = 80  # characters of a name; what is longer is a licence's text
_CLASSIFIER = "License :: "
# Only what names one licence and one version. `BSD License` and `Apache Software License` do not.
_KNOWN = {
    "mit license": "MIT",
    "the mit license": "MIT",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
}


def spdx_expression(text: str) -> str:
    """The SPDX expression that a text is or is known to mean; empty if neither."""
    text = " ".join(text.split())
    if not text or len(text) > 10 * _LONGEST:
        return ""
    try:
        return str(canonicalize_license_expression(_KNOWN.get(text.lower(), text)))
    except InvalidLicenseExpression:
        return ""


def of_distribution(head: Message) -> tuple[str, str]:
    """From core metadata: the SPDX expression, and what else they say if there is none."""
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in head.get_all("Classifier") or []
        if line.startswith(_CLASSIFIER)
    ]
    named = [head.get("License-Expression", ""), *_short(head.get("License") or "")]
    if len(classifiers) == 1:
        named += classifiers
    for text in named:
        found = spdx_expression(text)
        if found:
            return found, ""
    words = _short(head.get("License-Expression") or head.get("License") or "")
    return "", ", ".join(dict.fromkeys([*words, *classifiers]))


def of_debian(copyright_file: str) -> str:
    """The short names in a machine-readable ``debian/copyright``, sorted; empty if it is none."""
    if "copyright-format" not in copyright_file.partition("\n\n")[0]:
        return ""
    found = re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", copyright_file, re.MULTILINE)
    return ", ".join(sorted({name for name in found if len(name) <= _LONGEST}))


def _short(text: str) -> Sequence[str]:
    text = text.strip()
    is_name = text and "\n" not in text and len(text) <= _LONGEST and text != "UNKNOWN"
    return [text] if is_name else []
