"""The source lines of code that is restored: for tracebacks, `inspect.getsource` and `??`.

The kernel notes a cell's lines for Python (`linecache`) and its execution count for tracebacks
(``Cell In[3]``) when it runs the cell. Of cells that did not run here nobody has.
"""

from __future__ import annotations

import functools
import linecache
import re
from collections.abc import Sequence
from typing import Any

from nbrw_runtime.codec_functions import kernel_independent
from nbrw_runtime.recipe import RecipeCell

_DEFINES = re.compile(r"\b(?:def|class|lambda)\b|[(\[{].*\bfor\b", re.DOTALL)


def know_sources(shell: Any, cells: Sequence[RecipeCell]) -> None:
    """Let Python know the lines of cells that may have made code objects, when it asks for them.

    Their names are by content (`ipykernel.compiler`): another text is never taken for a cell's.
    """
    compiler = shell.compile
    ran = [cell.source for cell in cells if cell.source.strip()]
    for count, source in enumerate(ran, 1):
        if _DEFINES.search(source):
            name = kernel_independent(compiler.get_code_name(source, source, count))
            linecache.cache[name] = (functools.partial(shell.transform_cell, source),)
            compiler._filename_map[name] = count
