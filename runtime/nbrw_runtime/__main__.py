"""``python -m nbrw_runtime``: the commands of an image."""

import sys

from nbrw_runtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
