"""``python -m autofuse`` is the command ``autofuse``."""

import sys

from autofuse.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
