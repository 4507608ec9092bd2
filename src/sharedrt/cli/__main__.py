"""``python -m sharedrt.cli``."""

import sys

from sharedrt.cli import main

sys.exit(main())
