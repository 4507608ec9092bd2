"""What a container's processes hold, from /proc, and the file system that it writes to. Blocking."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharedrt.model.drivers import FileSystemStats, ProcessFigures

_OPEN_FILES: Final = re.compile(r"^Max open files\s+(\d+|unlimited)", re.MULTILINE)


def process_figures(pids: Sequence[int], proc: Path = Path("/proc")) -> ProcessFigures:
    """Of all these processes together; one that ends meanwhile is left out.

    Args:
        pids: as seen from the host, the first process first: its limit is the one told.
    """
    descriptors = sockets = 0
    for pid in pids:
        folder = f"{proc}/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        descriptors += len(names)
        for name in names:
            try:
                sockets += os.readlink(f"{folder}/{name}").startswith("socket:")
            except OSError:
                continue
    limit = _open_files_limit(f"{proc}/{pids[0]}/limits") if pids else None
    return ProcessFigures(len(pids), descriptors, sockets, limit)


def _open_files_limit(path: str) -> int | None:
    try:
        text = Path(path).read_text()
    except OSError:
        return None
    match = _OPEN_FILES.search(text)
    return int(match[1]) if match and match[1] != "unlimited" else None


def file_system(path: str, device: str) -> FileSystemStats:
    """Raises OSError."""
    found = os.statvfs(path)
    return FileSystemStats(device, found.f_blocks * found.f_frsize, found.f_files, found.f_ffree)


def device_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The device, as the mount table names it, that a folder lies on; its number where the table has none."""
    number = os.stat(path).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in mountinfo.read_text(errors="replace").splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted and len(words := rest.split()) > 1:
            return words[1]
    return wanted
