"""Name/value header blocks (spec section 2.6.10), compressed with one zlib stream for each direction.

A block, before compression: u32 number of pairs; for each: u32 length, name, u32 length, value. Names are lower
case; a value is several values with NUL between them.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

from sharedrt.wire.spdy.frames import FrameError

MAX_BLOCK_BYTES: Final = 64 << 10
"""Decompressed: a small frame can hold a block of any size."""

_U32: Final = struct.Struct(">I")

_METHODS_AND_FIELDS: Final = """
    options head post put delete trace accept accept-charset accept-encoding accept-language
    accept-ranges age allow authorization cache-control connection content-base content-encoding
    content-language content-length content-location content-md5 content-range content-type date etag
    expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since
    last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer
    retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate
    method get status
"""
_VALUES: Final = (
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
)
_CODES: Final = (
    "100 101 201 202 205 206 300 302 303 304 305 306 307 402 405 406 407 408 409 410 411 412 413 414 415"
    " 416 417 502 504 505"
).replace(" ", "")
_PHRASES: Final = (
    "203 Non-Authoritative Information",
    "204 No Content",
    "301 Moved Permanently",
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "500 Internal Server Error",
    "501 Not Implemented",
    "503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00",
    " Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,",
    "text/plain,text/javascript,public",
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
)
DICTIONARY: Final = (
    b"".join(
        _U32.pack(len(word)) + word.encode() for word in (*_METHODS_AND_FIELDS.split(), *_VALUES)
    )
    + (_CODES + "".join(_PHRASES)).encode()
)
"""The spec's initial zlib dictionary, 1423 bytes."""


class HeaderEncoder:
    """Compresses the blocks of one direction, in their order on the wire."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        parts = [_U32.pack(len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                data = text.encode()
                parts += [_U32.pack(len(data)), data]
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Decompresses the blocks of one direction; each must pass here, or all later ones are garbage."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """Raises FrameError for what is no header block, or a larger one than :data:`MAX_BLOCK_BYTES`."""
        try:
            plain = self._zlib.decompress(block, MAX_BLOCK_BYTES + 1)
        except zlib.error as error:
            raise FrameError(f"header block: {error}") from error
        if len(plain) > MAX_BLOCK_BYTES:
            raise FrameError("header block: larger than 64 KiB")
        texts = _texts(plain)
        return dict(zip(texts[::2], texts[1::2], strict=True))


def _texts(plain: bytes) -> Sequence[str]:
    """Names and values by turns."""
    if len(plain) < _U32.size:
        raise FrameError("header block: cut short")
    (pairs,) = _U32.unpack_from(plain)
    offset = _U32.size
    texts = []
    for _ in range(2 * min(pairs, len(plain))):
        if len(plain) < offset + _U32.size:
            raise FrameError("header block: cut short")
        (length,) = _U32.unpack_from(plain, offset)
        offset += _U32.size
        if len(plain) < offset + length:
            raise FrameError("header block: cut short")
        try:
            texts.append(plain[offset : offset + length].decode())
        except UnicodeDecodeError as error:
            raise FrameError("header block: not UTF-8") from error
        offset += length
    if offset != len(plain):
        raise FrameError("header block: bytes after its end")
    return texts
