"""Log lines as ``logs`` sends them: one frame a line, a whole batch in one go."""

from collections.abc import Iterator, Sequence

from sharedrt.model.drivers import LogLine
from sharedrt.wire.docker_stream import HEADERS, SYSTEM_ERROR, encode_frame, encode_frames
from sharedrt.wire.docker_time import LogClock


class LogEncoder:
    """Encodes batches. A terminal's output has no frames.

    Args:
        timestamps: each line begins with its time (a continued line only once).
        details: text between time and line; ``None``: not asked for.
    """

    def __init__(
        self, *, framed: bool, timestamps: bool = False, details: str | None = None
    ) -> None:
        self._framed = framed
        self._timestamps = timestamps
        self._details = b"" if details is None else details.encode() + b" "
        self._clock = LogClock()
        self._continued = {1: False, 2: False}

    def encode(self, batch: Sequence[LogLine]) -> bytes:
        """The batch's bytes."""
        if self._timestamps or self._details:
            lines = self._prefixed(batch)
            return encode_frames(lines) if self._framed else b"".join(data for _, data in lines)
        return self._frames(batch) if self._framed else self._plain(batch)

    def _frames(self, batch: Sequence[LogLine]) -> bytes:
        """What ``docker logs`` asks for, so it must be fast: no line is copied before the join."""
        parts: list[bytes] = []
        add, headers = parts.append, HEADERS
        for _, stream, data, partial in batch:
            if partial:
                add(headers[stream][len(data)])
                add(data)
            else:
                add(headers[stream][len(data) + 1])
                add(data)
                add(b"\n")
        return b"".join(parts)

    def _plain(self, batch: Sequence[LogLine]) -> bytes:
        parts: list[bytes] = []
        add = parts.append
        for _, _, data, partial in batch:
            add(data)
            if not partial:
                add(b"\n")
        return b"".join(parts)

    def error(self, text: str) -> bytes:
        """An error of the engine, which the stream has a number for."""
        data = text.encode()
        return encode_frame(SYSTEM_ERROR, data) if self._framed else data

    def _prefixed(self, batch: Sequence[LogLine]) -> Iterator[tuple[int, bytes]]:
        for line in batch:
            data = line.data if line.partial else line.data + b"\n"
            if not self._continued[line.stream]:
                data = self._prefix(line.time_ns) + data
            self._continued[line.stream] = line.partial
            yield line.stream, data

    def _prefix(self, time_ns: int) -> bytes:
        if self._timestamps:
            return self._clock.format(time_ns) + b" " + self._details
        return self._details
