"""Opening a log file, compressed or not, as one that can be read at any place. Blocking: call on threads."""

import gzip
import os
import shutil
import zlib
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

PACKED: Final = ".gz"
PART: Final = ".part"
"""Ending of a file whose compression is under way."""

_PLAIN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_CHUNK: Final = 1 << 20


def open_plain(path: Path) -> int:
    """A descriptor of the file's text; of a compressed one, of a nameless copy that goes when it is closed.

    A compressed file that breaks off gives what there is. Raises OSError.
    """
    descriptor = os.open(path, _PLAIN)
    if path.suffix != PACKED:
        return descriptor
    with os.fdopen(descriptor, "rb") as packed:
        copy = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(os.dup(copy), "wb") as plain:
                _unpack(packed, plain)
            info = os.fstat(packed.fileno())
            os.lseek(copy, 0, os.SEEK_SET)
            os.utime(copy, ns=(info.st_atime_ns, info.st_mtime_ns))
        except BaseException:
            os.close(copy)
            raise
    return copy


def _unpack(packed: BinaryIO, plain: BinaryIO) -> None:
    with gzip.GzipFile(fileobj=packed) as stream, suppress(EOFError, gzip.BadGzipFile, zlib.error):
        shutil.copyfileobj(stream, plain, _CHUNK)


def compress(path: Path) -> None:
    """Put ``path.gz`` in the place of ``path``. Interrupted, it leaves one or the other, or both. Raises OSError."""
    target = path.with_name(path.name + PACKED)
    part = path.with_name(path.name + PART)
    info = path.stat()
    with path.open("rb") as plain, gzip.open(part, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(plain, packed, _CHUNK)
    os.utime(part, ns=(info.st_atime_ns, info.st_mtime_ns))
    part.rename(target)
    path.unlink()
