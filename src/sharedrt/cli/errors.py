"""What a command can end with."""

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
NO_DAEMON: Final = 3
INTERRUPTED: Final = 130


class CliError(Exception):
    """One line for the user, and the exit code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NoDaemon(CliError):
    """The admin socket does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, NO_DAEMON)


class Interrupted(CliError):
    """Ctrl-C while the daemon was at work, or while following: nothing to explain."""

    def __init__(self) -> None:
        super().__init__("", INTERRUPTED)
