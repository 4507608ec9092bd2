"""Writes a layer's entries into the working directory, which is the root of a chroot.

Names are taken relative to that root, and symbolic links on the way resolve inside it, since there is no
outside. The last part of a name is never followed. Whiteouts take overlayfs's form (kernel documentation,
"Overlay Filesystem", "whiteouts and opaque directories").
"""

import errno
import os
import posixpath
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sharedrt.drivers import trees
from sharedrt.model.faults import Fault, InvalidArgument, ResourceExhausted
from sharedrt.wire.tar.entry import Kind, TarData, TarEnd, TarEntry, TarEvent
from sharedrt.wire.whiteouts import PREFIX, Opaque, Whiteout, classify

SetAttribute = Callable[[int, bytes, bytes], None]
"""Descriptor, name, value: sets an attribute for which a worker has no right."""

OPAQUE_XATTR: Final = b"trusted.overlay.opaque"

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_WHITEOUT_MODE: Final = stat.S_IFCHR
_MAX_ID: Final = (1 << 32) - 2
_MAX_MAJOR: Final = (1 << 12) - 1
_MAX_MINOR: Final = (1 << 20) - 1
_DEVICE_TYPES: Final = {
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}
_HOSTILE: Final = frozenset(
    (
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOENT,
        errno.EEXIST,
        errno.EINVAL,
        errno.EPERM,
        errno.EMLINK,
        errno.EFBIG,
        errno.ERANGE,
        errno.EOVERFLOW,
        errno.E2BIG,
    )
)
"""What the kernel says of names, links and attributes that make no sense."""


@dataclass(frozen=True, slots=True)
class ArchiveRules:
    """How entries of an archive that is no layer meet what is there (see ``model.drivers.ExtractRules``).

    ``owner`` gives the host's ids for the archive's.
    """

    owner: Callable[[int, int], tuple[int, int]]
    keep_types: bool
    root_entry: bool
    parent_owner: tuple[int, int] = (0, 0)
    """Of folders that are made because an entry's path needs them, on the host."""
    clean_names: bool = False


class LayerWriter:
    """Takes the events of one archive, in order; :meth:`finish` after the last.

    Args:
        max_entries: bound of their number.
        set_attribute: for ``trusted.*``.
        rules: for an archive that is no layer: whiteouts are names like others then.

    Raises (all methods):
        InvalidArgument: a hostile or senseless entry. ResourceExhausted: disk full, or too many entries.
    """

    def __init__(
        self, max_entries: int, set_attribute: SetAttribute, rules: "ArchiveRules | None" = None
    ) -> None:
        self._rules = rules
        self._left = max_entries
        self._max_entries = max_entries
        self._set_attribute = set_attribute
        self._entry = TarEntry(b"", Kind.FOLDER)
        self._path = b""
        self._file = -1
        self._folders: set[bytes] = set()
        """Paths known to be folders now."""
        self._opaque: set[bytes] = set()
        self._mtimes: dict[bytes, tuple[int, int]] = {}
        """Of folders: inode and mtime, which entries that come later in a folder would change."""

    def write(self, event: TarEvent) -> None:
        try:
            if isinstance(event, TarData):
                if self._file >= 0:
                    self._write_data(event)
            elif isinstance(event, TarEnd):
                if self._file >= 0:
                    self._end_file()
            else:
                self._entry = event
                self._begin(event)
        except OSError as error:
            raise self._fault(error) from error

    def finish(self) -> None:
        """Give folders the times that their entries said."""
        for path, (inode, mtime_ns) in self._mtimes.items():
            try:
                info = os.lstat(path or b".")
                if stat.S_ISDIR(info.st_mode) and info.st_ino == inode:
                    os.utime(path or b".", ns=(mtime_ns, mtime_ns))
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry took its place
            except OSError as error:
                raise self._fault(error) from error

    # ------------------------------------------------------------ entries

    def _begin(self, entry: TarEntry) -> None:
        self._left -= 1
        if self._left < 0:
            raise ResourceExhausted("layer", f"has more than {self._max_entries} entries")
        if entry.uid > _MAX_ID or entry.gid > _MAX_ID:
            raise self._invalid(f"owner {entry.uid}:{entry.gid}")
        path = self._path = self._normalized(entry.name)
        parent, _, base = path.rpartition(b"/")
        if parent not in self._folders and parent:
            self._make_parents(parent)
        if self._rules is not None:
            if not path and not self._rules.root_entry:
                return
            entry = self._entry = self._by_rules(self._rules, entry)
        elif base.startswith(PREFIX):
            self._whiteout(parent, base)
            return
        match entry.kind:
            case Kind.FILE:
                self._file = self._create(lambda: os.open(path, _NEW_FILE, 0o600))
            case Kind.FOLDER:
                self._folder(path)
            case Kind.HARDLINK:
                self._hardlink(path, self._normalized(entry.link))
            case Kind.SYMLINK:
                self._create(lambda: os.symlink(entry.link, path))
                os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
                self._set_xattrs(path)
                os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
            case _:
                self._node(path)

    def _by_rules(self, rules: "ArchiveRules", entry: TarEntry) -> TarEntry:
        """The entry with its owner on this host, if it may be written at all."""
        if rules.keep_types and self._path:
            try:
                is_folder = stat.S_ISDIR(os.lstat(self._path).st_mode)
            except FileNotFoundError:
                is_folder = entry.kind is Kind.FOLDER
            if is_folder and entry.kind is not Kind.FOLDER:
                raise self._invalid("cannot overwrite directory with non-directory")
            if not is_folder and entry.kind is Kind.FOLDER:
                raise self._invalid("cannot overwrite non-directory with directory")
        uid, gid = rules.owner(entry.uid, entry.gid)
        return entry._replace(uid=uid, gid=gid)

    def _normalized(self, name: bytes) -> bytes:
        parts = [part for part in name.split(b"/") if part and part != b"."]
        if b".." in parts:
            if self._rules is not None and self._rules.clean_names:
                return posixpath.normpath(b"/" + b"/".join(parts)).lstrip(b"/")
            raise InvalidArgument("layer entry", _text(name), "a path with '..'")
        return b"/".join(parts)

    def _create(self, make: Callable[[], int | None]) -> int:
        """Make something new at the entry's path, in the place of what an earlier entry made there."""
        if not self._path:
            raise self._invalid("only a folder can be the root")
        try:
            return make() or 0
        except FileExistsError:
            self._clear(self._path)
            return make() or 0

    def _clear(self, path: bytes) -> None:
        trees.remove(path)
        # It may have been a folder, or a link to one on the way to those that we know.
        self._folders.clear()
        self._opaque.clear()

    def _make_parents(self, path: bytes) -> None:
        """Make sure that a path is a folder; missing ones are made as root's, mode 755."""
        at = 0
        while at >= 0:
            at = path.find(b"/", at + 1)
            part = path if at < 0 else path[:at]
            if part in self._folders:
                continue
            try:
                os.mkdir(part, 0o755)
            except FileExistsError:
                if _is_whiteout(part):
                    self._replace_whiteout(part, 0o755)
                elif not os.path.isdir(part):  # follows links: those to folders are folders
                    raise self._invalid(f"{_text(part)!r} is not a folder") from None
            else:
                # A set-gid parent has given its group.
                os.chown(part, *(self._rules.parent_owner if self._rules else (0, 0)))
            self._folders.add(part)

    def _folder(self, path: bytes) -> None:
        entry = self._entry
        here = path or b"."
        if path:
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                if _is_whiteout(path):
                    self._replace_whiteout(path, 0o700)
                elif not stat.S_ISDIR(os.lstat(path).st_mode):
                    self._clear(path)
                    os.mkdir(path, 0o700)
            self._folders.add(path)
        os.chown(here, entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(here, entry.mode)
        self._set_xattrs(here)
        self._mtimes[path] = (os.lstat(here).st_ino, entry.mtime_ns)

    def _replace_whiteout(self, path: bytes, mode: int) -> None:
        """A folder in the place of a whiteout: what the layers below have there stays hidden."""
        os.unlink(path)
        os.mkdir(path, mode)
        self._make_opaque(path)

    def _hardlink(self, path: bytes, target: bytes) -> None:
        if path == target:
            return
        if not path:
            raise self._invalid("only a folder can be the root")
        try:
            self._link(target, path)
        except FileNotFoundError as error:
            raise self._invalid(f"its target {_text(target)!r} is not in this layer") from error

    def _link(self, target: bytes, path: bytes) -> None:
        try:
            os.link(target, path, follow_symlinks=False)
        except FileExistsError:
            if os.path.samestat(os.lstat(target), os.lstat(path)):
                return
            self._clear(path)
            os.link(target, path, follow_symlinks=False)

    def _node(self, path: bytes) -> None:
        entry = self._entry
        if not (0 <= entry.major <= _MAX_MAJOR and 0 <= entry.minor <= _MAX_MINOR):
            raise self._invalid(f"device {entry.major}:{entry.minor}")
        mode = _DEVICE_TYPES[entry.kind] | 0o600
        device = os.makedev(entry.major, entry.minor)
        self._create(lambda: os.mknod(path, mode, device))
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        os.chmod(path, entry.mode)
        self._set_xattrs(path)
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)

    # ------------------------------------------------------------ files' data

    def _write_data(self, event: TarData) -> None:
        offset, data = event
        while data:
            written = os.pwrite(self._file, data, offset)
            offset += written
            data = data[written:]

    def _end_file(self) -> None:
        file, entry = self._file, self._entry
        try:
            if entry.sparse:
                os.ftruncate(file, entry.size)
            # In this order: a new owner takes set-uid bits and capabilities away.
            os.fchown(file, entry.uid, entry.gid)
            os.fchmod(file, entry.mode)
            if entry.xattrs:
                self._set_xattrs(file)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(file)
            self._file = -1

    # ------------------------------------------------------------ whiteouts and attributes

    def _whiteout(self, parent: bytes, base: bytes) -> None:
        match classify(base):
            case Opaque():
                self._make_opaque(parent)
            case Whiteout(name):
                target = parent + b"/" + name if parent else name
                try:
                    os.mknod(target, _WHITEOUT_MODE, 0)
                except FileExistsError:
                    # The layer's own: it stays, but a folder must not show the lower one's content.
                    if stat.S_ISDIR(os.lstat(target).st_mode):
                        self._make_opaque(target)

    def _make_opaque(self, path: bytes) -> None:
        if path in self._opaque:
            return
        self._set_by_daemon(path or b".", OPAQUE_XATTR, b"y")
        self._opaque.add(path)

    def _set_xattrs(self, where: bytes | int) -> None:
        """Attributes as the archive has them.

        Left out are ``security.*`` but for capabilities, which label files for the policy of the machine
        that built the image, and what the file system cannot hold (``com.apple.*``), as in containerd.
        """
        for name, value in self._entry.xattrs.items():
            if name.startswith(b"trusted.overlay."):
                raise self._invalid(f"attribute {_text(name)}, which is overlayfs's own")
            if name.startswith(b"trusted."):
                self._set_by_daemon(where, name, value)
            elif name == b"security.capability" or not name.startswith(b"security."):
                self._set_xattr(where, name, value)

    def _set_xattr(self, where: bytes | int, name: bytes, value: bytes) -> None:
        try:
            if isinstance(where, int):
                os.setxattr(where, name, value)
            else:
                os.setxattr(where, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise

    def _set_by_daemon(self, where: bytes | int, name: bytes, value: bytes) -> None:
        if isinstance(where, int):
            self._set_attribute(where, name, value)
            return
        if not stat.S_ISDIR(os.lstat(where).st_mode):
            raise self._invalid(f"attribute {_text(name)} on a special file")
        folder = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._set_attribute(folder, name, value)
        finally:
            os.close(folder)

    # ------------------------------------------------------------ faults

    def _invalid(self, reason: str) -> InvalidArgument:
        return InvalidArgument("layer entry", _text(self._entry.name), reason)

    def _fault(self, error: OSError) -> Fault | OSError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return ResourceExhausted("disk", f"no space left for {_text(self._entry.name)!r}")
        if error.errno in _HOSTILE:
            return self._invalid(error.strerror or str(error))
        return error


def _is_whiteout(path: bytes) -> bool:
    info = os.lstat(path)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _text(name: bytes) -> str:
    return name[:200].decode("utf-8", "backslashreplace")
