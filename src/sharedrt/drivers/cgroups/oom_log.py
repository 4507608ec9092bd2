"""OOM kills as the kernel's log tells them, for cgroups that are gone before anybody has read their count.

systemd removes a scope as soon as its last process has ended, and memory.events with it. Who watches that file, as
conmon does, can come too late as well: the kernel tells of changes to it at most every 10 ms. The log's line is
written before the victim is killed.

Source: the kernel's ``Documentation/ABI/testing/dev-kmsg``, and ``dump_header`` in ``mm/oom_kill.c`` (since 5.0; it
writes at most 10 such lines in 5 s).
"""

import contextlib
import os
import re
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

_RECORD_BYTES: Final = 8192
"""What the kernel wants a reader to have room for; a smaller buffer gets EINVAL."""
_KEPT: Final = 1000
_VICTIM: Final = re.compile(r"\d+,\d+,(\d+),[^;]*;.*\btask_memcg=(/.*?),task=")
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")


def parse_record(record: str) -> tuple[int, str] | None:
    """Of the record of an OOM kill, when it was (µs since boot) and the victim's cgroup; ``None`` of any other."""
    if (found := _VICTIM.match(record)) is None:
        return None
    return int(found[1]), _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), found[2])


@dataclass(slots=True)
class _Kill:
    time_us: int
    cgroup: str
    told_us: int | None = None
    """The start of the run that it was told to."""


class OomLog:
    """Reads on where it stopped. Blocking at the first time, some milliseconds; for any thread."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._path = path
        self._fd = -1
        self._kills: deque[_Kill] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def tells_of(self, cgroup: str, started_us: int) -> bool:
        """Whether a process in or below ``cgroup`` was killed in the run that started then (µs since boot).

        False where the log may not be read. The next run of a container, in a cgroup of the same name, is not told
        of a kill that an earlier one was told of: the times alone do not say, since the log's clock is not the one
        that starts of processes are told by, and may be behind it by a tenth of a thousandth.
        """
        with self._lock:
            self._read_on()
            earliest = started_us - started_us // 10_000
            found = [
                kill
                for kill in self._kills
                # As the machine's own root sees it: ours may be further down.
                if f"{cgroup}/" in f"{kill.cgroup}/"
                and kill.time_us >= earliest
                and kill.told_us in (None, started_us)
            ]
            for kill in found:
                kill.told_us = started_us
        return bool(found)

    def _read_on(self) -> None:
        if self._fd < 0:
            # No such device in many containers; nor may everybody read it.
            with contextlib.suppress(OSError):
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        while self._fd >= 0:
            try:
                record = os.read(self._fd, _RECORD_BYTES)
            except BrokenPipeError:
                continue  # the log was faster than we: it goes on with its oldest record
            except BlockingIOError:
                return
            if (kill := parse_record(record.decode("utf-8", "replace"))) is not None:
                self._kills.append(_Kill(*kill))

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
