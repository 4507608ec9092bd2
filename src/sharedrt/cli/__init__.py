"""``sharedrt``, the administrator's command line: lists, images, events and the check of this host.

It speaks to the daemon's admin socket alone. Start-up time counts: heavy imports (rich, the configuration) are made
where they are used.
"""

import sys

from sharedrt.cli.errors import CliError


def main() -> int:
    """Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon, 130 interrupted."""
    from sharedrt.cli.app import app

    try:
        app(prog_name="sharedrt")
    except CliError as error:
        if text := str(error):
            print(f"sharedrt: {text}", file=sys.stderr)
        return error.exit_code
    return 0
