"""Users and groups by the container's own ``/etc/passwd`` and ``/etc/group``. Implements model's UserResolver.

Every path is resolved by the kernel inside the root file system (openat2(2), RESOLVE_IN_ROOT), so that a symlink
of a hostile image cannot lead to the host's files.
"""

import asyncio
import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.spec import User

MAX_ID: Final = (1 << 31) - 1
_MAX_DIGITS: Final = 32
_MAX_FILE_BYTES: Final = 16 << 20

_SYS_OPENAT2: Final = 437
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_in_root(root: Path, path: str) -> int:
    """Open a file for reading, symlinks resolved as if ``root`` were ``/``. Raises OSError."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # O_NONBLOCK: a fifo in an image must not hold us
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        how = _OpenHow(flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        fd: int = _libc.syscall(
            _SYS_OPENAT2, root_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
        )
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return fd
    finally:
        os.close(root_fd)


def read_in_root(root: Path, path: str) -> str:
    """A text file's content; empty when it is missing or not a regular file.

    Raises:
        InvalidArgument: larger than 16 MiB.
    """
    try:
        fd = open_in_root(root, path)
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES):
            return ""
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        with open(fd, "rb", closefd=False) as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidArgument("file of the image", path, "larger than 16 MiB")
    return data.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class PasswdEntry:
    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class GroupEntry:
    name: str
    gid: int
    members: tuple[str, ...]


def parse_passwd(text: str) -> list[PasswdEntry]:
    """passwd(5); lines that are none are skipped."""
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 4 and _is_id(fields[2]) and _is_id(fields[3]):
            found.append(PasswdEntry(fields[0], int(fields[2]), int(fields[3])))
    return found


def parse_group(text: str) -> list[GroupEntry]:
    """group(5); lines that are none are skipped."""
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) >= 3 and _is_id(fields[2]):
            members = fields[3].split(",") if len(fields) > 3 else []
            found.append(GroupEntry(fields[0], int(fields[2]), tuple(m for m in members if m)))
    return found


def _is_id(text: str) -> bool:
    """Also of an id that is too large; what is longer than any number that somebody means, int() might not read."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


class RootfsUsers:
    """Looks up users inside a root file system; reading is done on a thread."""

    async def resolve(self, rootfs: Path, user: User) -> tuple[int, int, tuple[int, ...]]:
        """(uid, gid, additional gids, the primary one among them).

        Raises:
            NotFound: an unknown user or group name. InvalidArgument: an id beyond 2^31-1.
        """
        return await asyncio.to_thread(resolve_user, rootfs, user)


def resolve_user(rootfs: Path, user: User) -> tuple[int, int, tuple[int, ...]]:
    """See :meth:`RootfsUsers.resolve`. Blocking."""
    passwd = parse_passwd(read_in_root(rootfs, "etc/passwd"))
    groups = parse_group(read_in_root(rootfs, "etc/group"))
    return select_user(user, passwd, groups)


def select_user(
    user: User, passwd: Sequence[PasswdEntry], groups: Sequence[GroupEntry]
) -> tuple[int, int, tuple[int, ...]]:
    """Apply the rules to parsed files.

    A name is looked up first as a name, then as a number, and a number needs no entry. The gid is, in this order:
    the one given, the one of the text form, the user's own, 0. Groups that list the user are added unless the text
    form names a group (as Docker does) or the policy is Strict. The primary gid is always among the additional
    ones, so that a group's denial cannot be shed (CVE-2022-36109).
    """
    name, colon, group = ("", "", "") if user.uid is not None else user.name.partition(":")
    wanted = str(user.uid) if user.uid is not None else name or "0"
    entry = _find_user(wanted, passwd, by_name=user.uid is None)
    uid = entry.uid if entry is not None else _number("user", wanted)
    gid = entry.gid if entry is not None else 0
    if colon and group:
        gid = _group_id(group, groups)
    if user.gid is not None:
        gid = _checked("group", user.gid)
    found = [gid]
    if user.merge_image_groups and entry is not None and not group:
        found += [g.gid for g in groups if entry.name in g.members]
    found += [_group_id(text, groups) for text in user.additional_groups]
    found += [_checked("group", each) for each in user.additional_gids]
    return _checked("user", uid), gid, tuple(dict.fromkeys(found))


def _find_user(wanted: str, passwd: Iterable[PasswdEntry], *, by_name: bool) -> PasswdEntry | None:
    for entry in passwd:
        if by_name and entry.name == wanted:
            return entry
        if _is_id(wanted) and entry.uid == int(wanted):
            return entry
    return None


def _group_id(text: str, groups: Iterable[GroupEntry]) -> int:
    for entry in groups:
        if entry.name == text or (_is_id(text) and entry.gid == int(text)):
            return entry.gid
    return _number("group", text)


def _number(kind: str, text: str) -> int:
    if not _is_id(text):
        raise NotFound(kind, text)
    return _checked(kind, int(text))


def _checked(kind: str, value: int) -> int:
    if not 0 <= value <= MAX_ID:
        raise InvalidArgument(kind, value, f"must be between 0 and {MAX_ID}")
    return value
