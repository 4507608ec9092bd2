"""Pinned namespaces for pods and containers, without a process to hold them (namespaces(7))."""

import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, TypeVar

from sharedrt.aio.completion import obtain, run_blocking
from sharedrt.aio.priority import favour_thread, thread_pool
from sharedrt.drivers import libc
from sharedrt.drivers.cgroups.parse import net_dev
from sharedrt.drivers.linuxns import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWUTS,
    setns,
    unshare,
)
from sharedrt.drivers.network.rtnetlink import Rtnetlink
from sharedrt.drivers.network.sysctls import check_sysctls, is_ipc_sysctl
from sharedrt.model.drivers import NetworkStats
from sharedrt.model.faults import FailedPrecondition, Internal, InvalidArgument

T = TypeVar("T")
_STARTERS: Final = thread_pool(4, "namespaces-of-pods")

_FLAGS: Final = {"net": CLONE_NEWNET, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS}
_KINDS: Final = frozenset({*_FLAGS, "user"})
_HELPER_TIMEOUT_S: Final = 10.0


class PinnedNamespaces:
    """Implements :class:`sharedrt.model.drivers.SandboxNamespaces`.

    Args:
        root: every pin is below it. It becomes a mount of its own that is private, since a pin that
            propagated into another mount namespace would keep its network alive for ever there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prepare_lock = threading.Lock()
        self._prepared = False

    async def create(
        self,
        directory: Path,
        kinds: frozenset[str],
        *,
        hostname: str,
        sysctls: Mapping[str, str],
        user_mappings: Sequence[tuple[int, int, int]] = (),
        group_mappings: Sequence[tuple[int, int, int]] = (),
    ) -> Mapping[str, Path]:
        if unknown := kinds - _KINDS:
            raise InvalidArgument("namespaces", sorted(unknown), "not one of net, ipc, uts, user")
        if not directory.is_relative_to(self._root):
            raise InvalidArgument("directory", str(directory), f"not below {self._root}")
        files = check_sysctls(sysctls, kinds)
        if "user" in kinds and not (user_mappings and group_mappings):
            raise InvalidArgument("user mappings", "", "a user namespace needs uid and gid ranges")

        def make() -> Mapping[str, Path]:
            self._prepare(directory)
            try:
                if "user" in kinds:
                    with _UserNamespace(kinds, user_mappings, group_mappings) as pid:
                        _enter(pid, kinds)
                        _set_up(kinds, hostname, files, owner_pid=pid)
                        return _pin(directory, f"/proc/{pid}/ns", kinds)
                unshare(sum(_FLAGS[kind] for kind in kinds))
                _set_up(kinds, hostname, files)
                return _pin(directory, f"/proc/self/task/{threading.get_native_id()}/ns", kinds)
            except BaseException:
                _remove(directory)
                raise

        return await _on_own_thread(make)

    async def remove(self, directory: Path) -> None:
        await _on_own_thread(lambda: _remove(directory))

    async def tcp_socket(self, netns: Path, family: int) -> int:
        def make() -> int:
            _enter_network(netns)
            return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK).detach()

        with _faults():
            return await obtain(_STARTERS, os.close, _on_fresh_thread, make)

    async def network_stats(self, netns: Path) -> Sequence[NetworkStats]:
        def read() -> Sequence[NetworkStats]:
            _enter_network(netns)
            return net_dev(Path("/proc/thread-self/net/dev").read_text())

        return await _on_own_thread(read)

    async def close(self) -> None:
        """Undo what was made of ``root`` itself, when no pin is left below it. For the purge."""
        await _on_own_thread(lambda: _unpin(self._root))
        self._prepared = False

    def _prepare(self, directory: Path) -> None:
        with self._prepare_lock:
            if not self._prepared:
                self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
                if not _is_mount_point(self._root):
                    libc.mount(str(self._root), str(self._root), "none", libc.MS_BIND)
                libc.mount("none", str(self._root), "none", libc.MS_PRIVATE)
                self._prepared = True
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        _remove_pins(directory)


def _enter_network(netns: Path) -> None:
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def _is_mount_point(path: Path) -> bool:
    """Also for a bind mount inside one file system, which os.path.ismount does not see."""
    wanted = os.path.realpath(path)
    with open("/proc/self/mountinfo") as table:
        points = (line.split(" ")[4].encode().decode("unicode_escape") for line in table)
        return wanted in points


def _set_up(
    kinds: frozenset[str], hostname: str, files: Mapping[Path, str], *, owner_pid: int = 0
) -> None:
    """On a thread inside the new namespaces. ``/proc/sys`` shows those of the task that opens a file.

    Args:
        owner_pid: a process in the user namespace that owns the others, if there is one.
    """
    if "uts" in kinds and hostname:
        socket.sethostname(hostname)
    if "net" in kinds:
        with Rtnetlink() as netlink:
            loopback = netlink.link("lo")
            assert loopback is not None, "every network namespace has one"
            netlink.set_link(loopback.index, up=True)
    for path, value in files.items():
        name = ".".join(path.parts[3:])
        try:
            if owner_pid and is_ipc_sysctl(path):
                _write_as_owner(owner_pid, path, value)
            else:
                path.write_text(value)
        except FileNotFoundError as error:
            raise InvalidArgument("sysctl", name, "this kernel has none of that name") from error
        except OSError as error:
            raise InvalidArgument(
                "sysctl", f"{name}={value}", error.strerror or "refused by the kernel"
            ) from error


def _write_as_owner(pid: int, path: Path, value: str) -> None:
    """IPC sysctls obey none but the root user of the user namespace, not even the host's."""
    enter = ("nsenter", "--target", str(pid), "--user", "--ipc", "--setuid=0", "--setgid=0")
    done = subprocess.run(
        (*enter, "tee", str(path)),
        input=value,
        capture_output=True,
        text=True,
        timeout=_HELPER_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(errno.EINVAL, done.stderr.strip() or "nsenter failed", str(path))


def _pin(directory: Path, source: str, kinds: frozenset[str]) -> Mapping[str, Path]:
    pins = {}
    for kind in sorted(kinds):
        pin = directory / kind
        pin.touch(mode=0o444)
        libc.mount(f"{source}/{kind}", str(pin), "none", libc.MS_BIND)
        pins[kind] = pin
    return pins


def _remove_pins(directory: Path) -> None:
    for kind in _KINDS:
        pin = directory / kind
        # More than one may lie on top of another, after a crash between mount and record.
        while _unpin(pin):
            pass
        pin.unlink(missing_ok=True)


def _remove(directory: Path) -> None:
    _remove_pins(directory)
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # the caller keeps other files here as well
            raise


def _unpin(path: Path) -> bool:
    try:
        libc.umount(str(path), libc.MNT_DETACH | libc.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


class _UserNamespace:
    """A process in new namespaces owned by a new user namespace: threads may not make one.

    It is util-linux's ``unshare`` turned ``cat``: that it echoes a byte shows that the namespaces are there, and it
    ends with its standard input, also when the daemon is killed.
    """

    def __init__(
        self,
        kinds: frozenset[str],
        user_mappings: Sequence[tuple[int, int, int]],
        group_mappings: Sequence[tuple[int, int, int]],
    ) -> None:
        self._kinds = kinds
        self._maps = {"uid_map": user_mappings, "gid_map": group_mappings}
        self._stack = ExitStack()

    def __enter__(self) -> int:
        with ExitStack() as stack:
            command = ["unshare", *(f"--{kind}" for kind in sorted(self._kinds)), "cat"]
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                )
            except FileNotFoundError as error:
                raise FailedPrecondition("unshare", "", "missing; package util-linux") from error
            stack.callback(_end, process)
            _pipe(process.stdin).write(b"\n")
            if not _pipe(process.stdout).read(1):
                words = _pipe(process.stderr).read(1000).decode(errors="replace").strip()
                raise Internal("user namespace", words or "unshare ended")
            for name, mappings in self._maps.items():
                lines = "".join(f"{inside} {host} {size}\n" for inside, host, size in mappings)
                try:
                    Path(f"/proc/{process.pid}/{name}").write_text(lines)
                except OSError as error:
                    raise InvalidArgument(
                        "user mappings", list(mappings), error.strerror or "refused by the kernel"
                    ) from error
            self._stack = stack.pop_all()
        return process.pid

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    _pipe(process.stdin).close()
    try:
        process.wait(_HELPER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _pipe(process.stdout).close()
    _pipe(process.stderr).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "all three are pipes"
    return stream


def _enter(pid: int, kinds: frozenset[str]) -> None:
    """The calling thread joins; being root outside, it needs no user namespace for that."""
    for kind in kinds & _FLAGS.keys():
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, _FLAGS[kind])
        finally:
            os.close(fd)


async def _on_own_thread(function: Callable[[], T]) -> T:
    """Run on a thread that ends with it. A cancelled caller waits for the end (about 1 ms) first, and
    what was made is then found, or removed, under its known name."""
    with _faults():
        return await run_blocking(_STARTERS, _on_fresh_thread, function)


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Internal("namespaces", str(error)) from error


def _on_fresh_thread(function: Callable[[], T]) -> T:
    """The same for a thread that may wait: until a new one runs at all takes a while on a busy host."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            favour_thread()
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="namespaces", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()
