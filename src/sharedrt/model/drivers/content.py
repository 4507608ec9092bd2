"""Blobs on disk."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from sharedrt.model.ids import Digest


class Ingest(Protocol):
    """A blob being written. Resumable under its ``reference`` after a crash or a broken connection."""

    @property
    def offset(self) -> int:
        """Bytes already there."""
        ...

    async def write(self, data: bytes) -> None:
        """Append; hashes as it goes. Raises ResourceExhausted when the disk is full."""
        ...

    async def truncate(self) -> None:
        """Begin again from nothing."""
        ...

    async def commit(self, expected: Digest | None, size: int | None) -> tuple[Digest, int]:
        """Verify, fsync and move into place (a no-op when the blob is there already).

        Raises:
            DataLoss: digest or size differ; the ingest is gone then.
        """
        ...


class ContentStore(Protocol):
    """Blobs by digest, one file each, shared by all namespaces. Access is the store's business."""

    @property
    def scratch(self) -> Path:
        """A folder of the same file system for files without a name, such as a spooled archive."""
        ...

    def path(self, digest: Digest) -> Path: ...

    def ingest(self, reference: str) -> AbstractAsyncContextManager[Ingest]:
        """Open, or resume, the ingest of that name. Two at once of one name: the second waits.

        Left without a commit, what has arrived stays, to be resumed; ResourceExhausted takes it away.
        """
        ...

    async def read(self, digest: Digest, *, limit: int = 8 << 20) -> bytes:
        """A small blob whole. Raises NotFound, ResourceExhausted beyond ``limit`` bytes."""
        ...

    def stream(
        self, digest: Digest, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Chunks of at most 1 MiB, read on threads. Raises NotFound."""
        ...

    async def size(self, digest: Digest) -> int | None:
        """Size in bytes, or ``None`` when there is no such blob."""
        ...

    async def delete(self, digest: Digest) -> bool: ...

    async def digests(self) -> Sequence[Digest]:
        """All blobs on disk, for removing what no row knows."""
        ...

    async def discard_ingests(self, *, idle_s: float) -> int:
        """Remove ingests that nobody has open and nobody has written to for so long; how many."""
        ...
