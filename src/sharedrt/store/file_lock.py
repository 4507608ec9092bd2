"""One daemon for one database file."""

import fcntl
import os
from pathlib import Path

from sharedrt.model.faults import FailedPrecondition, Internal


class FileLock:
    """An exclusive flock on ``<file>.lock``, which the kernel takes back however the process ends.

    The lock file stays: to remove it would let two processes lock two files of the same name.
    """

    def __init__(self, database: Path) -> None:
        """Raises FailedPrecondition, naming the holder, when another process has the lock."""
        self.path = database.with_name(database.name + ".lock")
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as error:
            raise FailedPrecondition("database", str(database), "its folder is missing") from error
        except OSError as error:
            raise Internal(f"lock file {self.path}", str(error)) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            reason = f"another daemon (pid {holder}) uses it and holds {self.path}"
            raise FailedPrecondition("database", str(database), reason) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
