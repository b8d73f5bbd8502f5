"""`python -m kitefeed.cli`: the same as `kitefeed`, for where its directory is not in PATH."""

import sys

from kitefeed.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
