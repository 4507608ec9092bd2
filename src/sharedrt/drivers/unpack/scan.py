"""An overlayfs upper folder, the working directory, as a layer's tar.

The same folder gives the same bytes: names sorted, hard links to the first name. Not written: sockets,
and overlayfs's own attributes, which become whiteouts.
"""

import errno
import os
import stat
from collections.abc import Callable, Container, Iterator, Sequence
from typing import BinaryIO, Final, cast

from sharedrt.model.faults import Internal, InvalidArgument
from sharedrt.wire import whiteouts
from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry

_OVERLAY_XATTR: Final = "trusted.overlay."
_COPY: Final = 1 << 20
Links = dict[tuple[int, int], bytes]
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

    def host_id(self, image_id: int) -> int:
        """Raises InvalidArgument for an id outside the mapping."""
        if not self._mappings:
            return image_id
        for container, host, count in self._mappings:
            if container <= image_id < container + count:
                return host + image_id - container
        raise InvalidArgument("owner", image_id, "outside of the user namespace's mapping")


def scan_layer(
    sink: BinaryIO,
    uids: IdMap,
    gids: IdMap,
    exclude: Container[bytes] = (),
    newest_ns: int | None = None,
) -> None:
    """Write the archive. Raises OSError, and Internal when a file shrinks under us.

    Args:
        exclude: paths that are left out when they are empty, or hold nothing but others of these.
        newest_ns: times after this one become this one.
    """
    links: Links = {}
    for path, info in _walk(b""):
        attributes = attributes_of(path)
        if _is_whiteout(info, attributes):
            sink.write(_marker(path, _time(info, newest_ns), whiteouts.whiteout))
            continue
        opaque = attributes.get(f"{_OVERLAY_XATTR}opaque") == b"y"
        if path in exclude and not opaque and _holds_nothing(path, info, exclude):
            continue
        entry = entry_of(path, path or b"./", info, attributes, links, (uids, gids))
        if entry is None:
            continue
        sink.write(encode_header(entry._replace(mtime_ns=_time(info, newest_ns))))
        if entry.kind is Kind.FILE:
            with open_file(path) as file:
                copy_file(file, path, info.st_size, sink, living=False)
        if opaque:
            mtime_ns = _time(info, newest_ns)
            sink.write(_marker(path + b"/", mtime_ns, lambda name: whiteouts.OPAQUE))
    sink.write(END_OF_ARCHIVE)


def entry_of(
    path: bytes,
    name: bytes,
    info: os.stat_result,
    attributes: dict[str, bytes],
    links: Links,
    ids: tuple[IdMap, IdMap],
) -> TarEntry | None:
    """A path's entry under a name; ``None`` for a socket.

    Args:
        links: names of the inodes with several, as they come.
    """
    kind = _KINDS.get(stat.S_IFMT(info.st_mode))
    if kind is None:
        return None
    link = b""
    if kind is Kind.SYMLINK:
        link = os.readlink(path)
    elif kind is not Kind.FOLDER and info.st_nlink > 1:
        link = links.setdefault((info.st_dev, info.st_ino), name)
        kind, link = (Kind.HARDLINK, link) if link != name else (kind, b"")
    uids, gids = ids
    return TarEntry(
        name=name,
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


def _walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Paths in order, folders before what they hold; the root itself only when it is not plain."""
    info = os.lstat(root or b".")
    if (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) != (0o755, 0, 0):
        yield root, info
    pending = [names_in(root)]
    while pending:
        if not pending[-1]:
            pending.pop()
            continue
        path = pending[-1].pop()
        info = os.lstat(path)
        yield path, info
        if stat.S_ISDIR(info.st_mode):
            pending.append(names_in(path))


def names_in(folder: bytes) -> list[bytes]:
    """Paths in a folder, the first in order at the list's end."""
    prefix = folder + b"/" if folder else b""
    return [prefix + name for name in sorted(os.listdir(folder or b"."), reverse=True)]


def _time(info: os.stat_result, newest_ns: int | None) -> int:
    return info.st_mtime_ns if newest_ns is None else min(info.st_mtime_ns, newest_ns)


def _holds_nothing(path: bytes, info: os.stat_result, exclude: Container[bytes]) -> bool:
    if not stat.S_ISDIR(info.st_mode):
        return not info.st_size
    return all(
        below in exclude and _holds_nothing(below, os.lstat(below), exclude)
        for below in names_in(path)
    )


def _marker(path: bytes, mtime_ns: int, name: Callable[[bytes], bytes]) -> bytes:
    folder, slash, base = path.rpartition(b"/")
    entry = TarEntry(folder + slash + name(base), Kind.FILE, mode=0, mtime_ns=mtime_ns)
    return encode_header(entry)


def _is_whiteout(info: os.stat_result, attributes: dict[str, bytes]) -> bool:
    if stat.S_ISCHR(info.st_mode):
        return info.st_rdev == 0
    return stat.S_ISREG(info.st_mode) and f"{_OVERLAY_XATTR}whiteout" in attributes


def attributes_of(path: bytes) -> dict[str, bytes]:
    """All extended attributes of a path, links not followed."""
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


def copy_file(file: BinaryIO, path: bytes, size: int, sink: BinaryIO, *, living: bool) -> None:
    """A file's bytes, padded to a block. Raises Internal when it has become shorter than ``size``, unless it is
    ``living``: in use while it is read, so that zeros stand for what has gone."""
    left = size
    while left:
        data = file.read(min(left, _COPY))
        if not data:
            if not living:
                raise Internal("layer", f"{path.decode(errors='replace')!r} shrank while read")
            data = bytes(min(left, _COPY))
        sink.write(data)
        left -= len(data)
    sink.write(padding(size))


def open_file(path: bytes) -> BinaryIO:
    """A regular file for reading; whatever may have come in its place does not hold us. Raises OSError."""
    return cast(BinaryIO, open(path, "rb", buffering=0, opener=_open_plain))


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
