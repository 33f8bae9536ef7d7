"""`python -m rlenhance` is the `rlenhance` command."""

import sys

from rlenhance.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
