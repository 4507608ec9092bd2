"""What an archive holds: entries, their data and their ends."""

import enum
from collections.abc import Mapping
from typing import NamedTuple


class Kind(enum.Enum):
    """Type of a member; the values are ustar's type flags."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER_DEVICE = b"3"
    BLOCK_DEVICE = b"4"
    FOLDER = b"5"
    FIFO = b"6"


NO_XATTRS: Mapping[bytes, bytes] = {}


class TarEntry(NamedTuple):
    """One member's facts. Names are bytes as they stand in the archive: unchecked, any encoding.

    ``size`` is what the file shall have, holes included; ``mtime_ns`` may be negative. For a hard
    link ``link`` names a member, for a symbolic one it is the text.
    """

    name: bytes
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[bytes, bytes] = NO_XATTRS
    sparse: bool = False


class TarData(NamedTuple):
    """Bytes of the entry before, to stand at ``offset`` of the file; what no data covers is a hole."""

    offset: int
    data: memoryview


class TarEnd(NamedTuple):
    """The entry before is complete."""


TarEvent = TarEntry | TarData | TarEnd
