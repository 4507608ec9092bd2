"""Whether a file is a tar, plain or compressed: what ADD unpacks. For the worker's side only.

Decompressors are loaded here, since a worker in its chroot can load nothing any more.
"""

import bz2
import lzma
import os
import zlib
from collections.abc import Callable
from typing import Final

import zstandard

from sharedrt.drivers.unpack.scan import open_file

_BLOCK: Final = 512
_PIECE: Final = 64 << 10
_MOST: Final = 4 << 20
"""Compressed bytes to look at; a block of bzip2 has at most 900 kB."""
_XZ_MEMORY: Final = 256 << 20

_MAGICS: Final[tuple[tuple[bytes, Callable[[], Callable[[bytes], bytes]]], ...]] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31).decompress),
    (b"BZh", lambda: bz2.BZ2Decompressor().decompress),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY).decompress),
    (b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj().decompress),
)


def is_archive(path: str) -> bool:
    """By its first header. Raises OSError."""
    with open_file(os.fsencode(path)) as file:
        head = file.read(_PIECE)
        for magic, make in _MAGICS:
            if head.startswith(magic):
                return _begins_a_tar(_inside(head, file.read, make()))
        return _begins_a_tar(head)


def _inside(
    head: bytes, read: Callable[[int], bytes], decompress: Callable[[bytes], bytes]
) -> bytes:
    found = b""
    taken = 0
    while head and len(found) < _BLOCK and taken < _MOST:
        taken += len(head)
        try:
            found += decompress(head)
        except (zlib.error, OSError, EOFError, lzma.LZMAError, zstandard.ZstdError, ValueError):
            return b""
        head = read(_PIECE)
    return found


def _begins_a_tar(data: bytes) -> bool:
    """Whether the first block is a header whose checksum fits."""
    block = data[:_BLOCK]
    if len(block) < _BLOCK or not block[0]:
        return False
    stated = block[148:156].strip(b"\0 ")
    if not stated or not all(byte in b"01234567" for byte in stated):
        return False
    total = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    return int(stated, 8) == total
