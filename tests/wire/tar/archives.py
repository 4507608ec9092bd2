"""Archives as other programs write them."""

import itertools
import subprocess
from pathlib import Path

from sharedrt.wire.tar.decoder import TarDecoder
from sharedrt.wire.tar.entry import TarData, TarEnd, TarEntry


def decode(
    archive: bytes, cuts: list[int] | None = None
) -> list[tuple[TarEntry, dict[int, bytes]]]:
    """Entries with their data, adjoining pieces joined."""
    decoder = TarDecoder()
    found: list[tuple[TarEntry, dict[int, bytes]]] = []
    borders = [0, *sorted(cut % (len(archive) + 1) for cut in cuts or []), len(archive)]
    ended = True
    for start, end in itertools.pairwise(borders):
        for event in decoder.receive_data(archive[start:end]):
            if isinstance(event, TarEntry):
                assert ended
                found.append((event, {}))
                ended = False
            elif isinstance(event, TarEnd):
                assert not ended
                ended = True
            else:
                _add(found[-1][1], event)
    decoder.receive_eof()
    return found


def _add(pieces: dict[int, bytes], event: TarData) -> None:
    last = next(reversed(pieces), None)
    if last is not None and last + len(pieces[last]) == event.offset:
        pieces[last] += bytes(event.data)
    else:
        pieces[event.offset] = bytes(event.data)


def content(entry: TarEntry, pieces: dict[int, bytes]) -> bytes:
    """The file's bytes, holes as zeros."""
    whole = bytearray(entry.size)
    for offset, data in pieces.items():
        whole[offset : offset + len(data)] = data
    return bytes(whole)


def gnu_tar(folder: Path, *options: str) -> bytes:
    """What GNU tar makes of a folder."""
    command = [
        "tar",
        "--create",
        "--numeric-owner",
        "--sort=name",
        *options,
        "-C",
        str(folder),
        ".",
    ]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
