"""The build context on this host: a folder that hostile input has filled, only ever looked into from a chroot."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharedrt.aio.completion import run_blocking
from sharedrt.model.drivers import ExtractRules, RootArchiver, RootView
from sharedrt.model.faults import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.wire.dockerfile.lines import MAX_BYTES
from sharedrt.wire.dockerignore import read_dockerignore

_IGNORE_FILE: Final = ".dockerignore"


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What ``.dockerignore`` says is not there any more."""

    root: RootView
    dockerfile: bytes


class ContextReader:
    """Fills and reads contexts."""

    def __init__(self, archiver: RootArchiver) -> None:
        self._archiver = archiver

    async def unpack(self, archive: AsyncIterator[bytes], folder: Path) -> None:
        """A tar, plain or compressed, into an empty folder.

        Raises:
            BuildFailed: no tar, or a hostile one. ResourceExhausted: the disk, or a bound.
        """
        try:
            await self._archiver.extract(
                RootView(folder), "/", archive, ExtractRules(clean_names=True)
            )
        except (InvalidArgument, DataLoss) as fault:
            raise BuildFailed(f"Error processing tar file: {fault}", malformed=True) from fault

    async def read(self, folder: Path, dockerfile: str) -> BuildContext:
        """Take out the Dockerfile, then what ``.dockerignore`` leaves out. Raises BuildFailed."""
        root = RootView(folder)
        text = await self._file(root, dockerfile)
        if text is None and dockerfile == "Dockerfile":
            text = await self._file(root, "dockerfile")
        if text is None:
            raise BuildFailed(f"Cannot locate specified Dockerfile: {dockerfile}", malformed=True)
        if not text:
            raise BuildFailed(f"the Dockerfile ({dockerfile}) cannot be empty", malformed=True)
        ignore = await self._file(root, f"{dockerfile}{_IGNORE_FILE}")
        if ignore is None:
            ignore = await self._file(root, _IGNORE_FILE)
        if ignore is not None:
            try:
                rules = await run_blocking(None, read_dockerignore, ignore)
            except InvalidArgument as fault:
                raise BuildFailed(
                    f"failed to read {_IGNORE_FILE}: {fault}", malformed=True
                ) from fault
            patterns = [("!" if p.keeps else "") + p.text for p in rules.patterns]
            if patterns:
                await self._archiver.leave_out(folder, patterns)
        return BuildContext(root, text)

    async def _file(self, root: RootView, path: str) -> bytes | None:
        parts = []
        size = 0
        try:
            async with self._archiver.cat(root, path) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise ResourceExhausted(path, f"longer than {MAX_BYTES} bytes")
                    parts.append(chunk)
        except NotFound:
            return None
        except InvalidArgument as fault:
            raise BuildFailed(f"Cannot read {path}: {fault.reason}", malformed=True) from fault
        return b"".join(parts)
