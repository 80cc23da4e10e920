"""All rows of the table of fingerprint cases."""

from __future__ import annotations

import fingerprint_code
import fingerprint_edits
import fingerprint_graphs
import fingerprint_values
from fingerprint_table import CASES

__all__ = [
    "CASES",
    "fingerprint_code",
    "fingerprint_edits",
    "fingerprint_graphs",
    "fingerprint_values",
]
