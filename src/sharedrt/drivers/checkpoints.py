"""Checkpoint archives on disk (:class:`sharedrt.model.drivers.CheckpointArchives`): plain tars, read as hostile.

All work is done on threads; a thread is waited for even when its caller is cancelled.
"""

import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Final, TypeVar

from sharedrt.aio.completion import obtain, run_blocking
from sharedrt.model.faults import Internal, InvalidArgument, NotFound, ResourceExhausted

T = TypeVar("T")
_COPY_BYTES: Final = 1 << 20
_MAX_DOCUMENT_BYTES: Final = 4 << 20
_MAX_MEMBERS: Final = 100_000


class TarCheckpoints:
    """Implements CheckpointArchives.

    Args:
        max_bytes: bound of what one archive may unpack to.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    async def write(self, folder: Path, target: Path) -> None:
        await _run(_write, folder, target)

    @asynccontextmanager
    async def file(self, path: Path) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        with _faults(path):
            file = await obtain(None, IO.close, _open_new, path)

        async def sink(data: bytes) -> None:
            await _run(file.write, data)

        try:
            yield sink
        finally:
            await _run(file.close)

    async def documents(self, archive: Path, names: Collection[str]) -> Mapping[str, bytes]:
        return await _run(_documents, archive, frozenset(names))

    async def extract(
        self, archive: Path, folder: Path, files: Collection[str], folders: Collection[str]
    ) -> None:
        await _run(_extract, archive, folder, frozenset(files), frozenset(folders), self._max_bytes)


def partial(target: Path) -> Path:
    """Where an archive is written before it is whole."""
    return target.with_name(f".{target.name}.part")


async def _run(function: Callable[..., T], *args: object) -> T:
    subject = args[0] if args and isinstance(args[0], Path) else None
    with _faults(subject):
        return await run_blocking(None, function, *args)


@contextmanager
def _faults(subject: Path | None) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("path", str(error.filename)) from error
    except tarfile.TarError as error:
        raise InvalidArgument("checkpoint archive", str(subject or ""), str(error)) from error
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise ResourceExhausted("disk", error.strerror or str(error)) from error
        raise Internal("checkpoint archive", str(error)) from error


def _write(folder: Path, target: Path) -> None:
    """By way of a second name, so that an archive that is there is whole."""
    part = partial(target)
    try:
        with open(part, "wb", opener=_private) as file:
            with tarfile.TarFile(
                fileobj=file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_COPY_BYTES
            ) as tar:
                for path in sorted(folder.rglob("*")):
                    if path.is_file() and not path.is_symlink():
                        tar.add(path, str(path.relative_to(folder)), recursive=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    """Memory of processes is in it: root's alone."""
    return os.open(path, flags | os.O_TRUNC | os.O_NOFOLLOW, 0o600)


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """(name without a leading ./, entry) of regular files."""
    for number, member in enumerate(tar):
        if number > _MAX_MEMBERS:
            raise tarfile.TarError(f"more than {_MAX_MEMBERS} entries")
        if member.isreg():
            yield member.name.removeprefix("./"), member


@contextmanager
def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[IO[bytes]]:
    source = tar.extractfile(member)
    if source is None:
        raise tarfile.TarError(f"{member.name} has no content")
    with source:
        yield source


def _documents(archive: Path, names: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(archive, "r:") as tar:
        for name, member in _members(tar):
            if name not in names:
                continue
            if member.size > _MAX_DOCUMENT_BYTES:
                raise tarfile.TarError(f"{name} is larger than {_MAX_DOCUMENT_BYTES} bytes")
            with _content(tar, member) as source:
                found[name] = source.read()
            if len(found) == len(names):
                break
    if missing := sorted(names - found.keys()):
        raise tarfile.TarError(f"{missing[0]} is missing")
    return found


def _extract(
    archive: Path, folder: Path, files: frozenset[str], folders: frozenset[str], max_bytes: int
) -> None:
    left = max_bytes
    with tarfile.open(archive, "r:") as tar:
        for name, member in _members(tar):
            parent, slash, base = name.rpartition("/")
            if not (
                name in files if not slash else parent in folders and base not in ("", ".", "..")
            ):
                continue
            left -= member.size
            if left < 0:
                raise ResourceExhausted("checkpoint archive", f"unpacks to over {max_bytes} bytes")
            target = folder / parent / base
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _content(tar, member) as source, open(target, "xb", opener=_new) as out:
                shutil.copyfileobj(source, out, _COPY_BYTES)


def _open_new(path: Path) -> IO[bytes]:
    return open(path, "xb", opener=_new)


def _new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
