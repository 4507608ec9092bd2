"""``CpusetCpus`` and ``CpusetMems`` against what the host has, as dockerd checks them."""

from pathlib import Path
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import bad_request

_ONLINE: Final = (
    ("CpusetCpus", "cpuset cpus", "CPUs", Path("/sys/devices/system/cpu/online")),
    ("CpusetMems", "cpuset mems", "memory nodes", Path("/sys/devices/system/node/online")),
)
_MOST: Final = 8192


def check_cpusets(host: Fields) -> None:
    """Reads two small files of /sys. Raises Refusal."""
    for name, what, plural, path in _ONLINE:
        if text := host.text(name):
            check_set(text, what, plural, _read(path))


def check_set(text: str, what: str, plural: str, online: str) -> None:
    """One list like ``0-2,7``; an empty ``online`` is no known bound. Raises Refusal."""
    try:
        asked = parse_set(text)
    except ValueError as error:
        raise bad_request(f"Invalid value {text} for {what}: invalid format: {text}") from error
    if online and not asked <= parse_set(online):
        raise bad_request(
            f"Requested {plural} are not available - requested {text}, available: {online}"
        )


def parse_set(text: str) -> frozenset[int]:
    """The numbers of ``0-2,7``. Raises ValueError."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(part)
        low, high = int(first), int(last or first)
        if low > high or high >= _MOST:
            raise ValueError(part)
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # a kernel without memory nodes
