"""A door's socket file: bound for its owner alone, stale ones replaced, live ones respected."""

import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from sharedrt.model.faults import FailedPrecondition

log = structlog.get_logger(__name__)

_BACKLOG: Final = 128
_UCRED: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, as the kernel says (``SO_PEERCRED``)."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer:
    """The process at the other end, as it was when it connected."""
    return Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


@contextmanager
def bound_socket(path: Path, *, mode: int = 0o600) -> Iterator[socket.socket]:
    """Listen at ``path``; the file is removed at the end, unless another daemon's is there by then.

    The socket is bound under another name and renamed when its mode is right: nobody can connect before.

    Raises:
        FailedPrecondition: a process listens there, something that is no socket is there, or the path
            cannot be bound.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with closing(sock):
        try:
            inode = _bind(sock, path, mode)
        except OSError as error:
            raise FailedPrecondition("socket", str(path), error.strerror or str(error)) from error
        try:
            yield sock
        finally:
            _remove(path, inode)


def _bind(sock: socket.socket, path: Path, mode: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_live(path)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    sock.bind(str(new))
    try:
        new.chmod(mode)
        sock.listen(_BACKLOG)
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return path.lstat().st_ino


def _refuse_live(path: Path) -> None:
    try:
        file_mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(file_mode):
        raise FailedPrecondition("socket", str(path), "there is something that is no socket")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            log.info("stale socket replaced", path=str(path))
            return
        except TimeoutError:
            pass  # A full backlog: alive, however busy.
    raise FailedPrecondition("socket", str(path), "a running daemon listens there")


def _remove(path: Path, inode: int) -> None:
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        log.debug("socket removed by somebody else", path=str(path))
