"""An overlayfs upper folder, the working directory, as a layer's tar.

The same folder gives the same bytes: names sorted, hard links to the first name. Not written: sockets,
and overlayfs's own attributes, which become whiteouts.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final

from sharedrt.model.faults import Internal, InvalidArgument
from sharedrt.wire import whiteouts
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry

_OVERLAY_XATTR: Final = "trusted.overlay."
_COPY: Final = 1 << 20
_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
}


class IdMap:
    """Ids on disk to ids in the image: the user namespace's mapping turned round.

    Args:
        mappings: (container id, host id, count); none: ids are the same.
    """

    def __init__(self, mappings: Sequence[Sequence[int]]) -> None:
        self._mappings = [tuple(mapping) for mapping in mappings]

    def image_id(self, host_id: int) -> int:
        """Raises InvalidArgument for an id outside the mapping."""
        if not self._mappings:
            return host_id
        for container, host, count in self._mappings:
            if host <= host_id < host + count:
                return container + host_id - host
        raise InvalidArgument("owner", host_id, "outside of the user namespace's mapping")


def scan_layer(sink: BinaryIO, uids: IdMap, gids: IdMap) -> None:
    """Write the archive. Raises OSError, and Internal when a file shrinks under us."""
    links: dict[tuple[int, int], bytes] = {}
    for path, info in _walk(b""):
        attributes = _attributes(path)
        if _is_whiteout(info, attributes):
            sink.write(_marker(path, info, whiteouts.whiteout))
            continue
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            continue
        link = b""
        if kind is Kind.SYMLINK:
            link = os.readlink(path)
        elif kind is not Kind.FOLDER and info.st_nlink > 1:
            link = links.setdefault((info.st_dev, info.st_ino), path)
            kind, link = (Kind.HARDLINK, link) if link != path else (kind, b"")
        entry = TarEntry(
            name=path or b"./",
            kind=kind,
            mode=stat.S_IMODE(info.st_mode),
            uid=uids.image_id(info.st_uid),
            gid=gids.image_id(info.st_gid),
            size=info.st_size if kind is Kind.FILE else 0,
            mtime_ns=info.st_mtime_ns,
            link=link,
            major=os.major(info.st_rdev),
            minor=os.minor(info.st_rdev),
            xattrs={} if kind is Kind.HARDLINK else _kept(attributes),
        )
        sink.write(encode_header(entry))
        if kind is Kind.FILE:
            _copy(path, info.st_size, sink)
        if attributes.get(f"{_OVERLAY_XATTR}opaque") == b"y":
            sink.write(_marker(path + b"/", info, lambda name: whiteouts.OPAQUE))
    sink.write(END_OF_ARCHIVE)


def _walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Paths in order, folders before what they hold; the root itself only when it is not plain."""
    info = os.lstat(root or b".")
    if (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != (0o755, 0, 0):
        yield root, info
    pending = [_names(root)]
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        path = pending[-1].pop()
        info = os.lstat(path)
        yield path, info
        if stat.S_ISDIR(info.st_mode):
            pending.append(_names(path))


def _names(folder: bytes) -> list[bytes]:
    """Paths in a folder, the first in order at the list's end."""
    prefix = folder + b"/" if folder else b""
    return [prefix + name for name in sorted(os.listdir(folder or b"."), reverse=True)]


def _marker(path: bytes, info: os.stat_result, name: Callable[[bytes], bytes]) -> bytes:
    folder, slash, base = path.rpartition(b"/")
    entry = TarEntry(folder + slash + name(base), Kind.FILE, mode=0, mtime_ns=info.st_mtime_ns)
    return encode_header(entry)


def _is_whiteout(info: os.stat_result, attributes: dict[str, bytes]) -> bool:
    if stat.S_ISCHR(info.st_mode):
        return info.st_rdev == 0
    return stat.S_ISREG(info.st_mode) and f"{_OVERLAY_XATTR}whiteout" in attributes


def _attributes(path: bytes) -> dict[str, bytes]:
    where = path or b"."
    found = {}
    for name in os.listxattr(where, follow_symlinks=False):
        try:
            found[name] = os.getxattr(where, name, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return found


def _kept(attributes: dict[str, bytes]) -> dict[bytes, bytes]:
    """Attributes that belong to the content: those that unpacking sets."""
    return {
        os.fsencode(name): value
        for name, value in attributes.items()
        if not name.startswith(_OVERLAY_XATTR)
        and (name == "security.capability" or not name.startswith("security."))
    }


def _copy(path: bytes, size: int, sink: BinaryIO) -> None:
    left = size
    with open(path, "rb", buffering=0, opener=_open_plain) as file:
        while left:
            data = file.read(min(left, _COPY))
            if not data:
                raise Internal("layer", f"{path.decode(errors='replace')!r} shrank while read")
            sink.write(data)
            left -= len(data)
    sink.write(padding(size))


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
