"""`python -m rlenhance` is the `rlenhance` command."""

import sys

from rlenhance.cli import main

if __name__ == "__main__":
    sys.exit(main())
