"""Registries of images."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sharedrt.model.drivers.content import Ingest
from sharedrt.model.ids import Digest
from sharedrt.model.records import Descriptor


@dataclass(frozen=True, slots=True)
class Credentials:
    """``identity_token`` is an OAuth2 refresh token, ``registry_token`` a bearer token used as it is."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = ""


class Repository(Protocol):
    """One repository at its registry, through the hosts that ``certs.d`` names for it (mirrors first)."""

    async def resolve(self, reference: str) -> Descriptor:
        """The descriptor of a tag or digest (HEAD, or GET where HEAD gives no digest).

        Raises:
            NotFound: every host that answered says unknown. Unauthenticated, PermissionDenied,
            Unavailable: with the host named and the registry's own words.
        """
        ...

    async def manifest(self, descriptor: Descriptor) -> bytes:
        """The manifest's or index's bytes, digest verified, at most 4 MiB."""
        ...

    async def fetch_blob(
        self, descriptor: Descriptor, into: Ingest, *, progress: Callable[[int], None] | None = None
    ) -> None:
        """Stream a blob into an ingest, resuming by Range after a broken connection; verified by the
        ingest's commit, which the caller does. ``progress`` gets the bytes had so far.

        Raises:
            DeadlineExceeded: no byte arrived for ``registry.stall_timeout_s``.
        """
        ...

    async def has_blob(self, digest: Digest) -> bool:
        """Whether these credentials may read the blob there (HEAD): the proof for sharing a blob."""
        ...

    async def push_blob(
        self,
        descriptor: Descriptor,
        content: Callable[[], AsyncIterator[bytes]],
        *,
        mount_from: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> bool:
        """Upload unless it is there; False when it was (or was mounted from ``mount_from``)."""
        ...

    async def push_manifest(self, tag_or_digest: str, media_type: str, data: bytes) -> Digest: ...

    async def tags(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class RegistryView:
    """A registry as it is configured. ``mirrors``: URLs, in the order of trying."""

    name: str
    mirrors: tuple[str, ...]
    secure: bool
    """Spoken to over TLS with a verified certificate alone."""


@dataclass(frozen=True, slots=True)
class ConfiguredRegistries:
    """All that the configuration names, Docker Hub among them. ``insecure_networks``: CIDRs."""

    views: tuple[RegistryView, ...] = ()
    insecure_networks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Files that are wrong."""


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository that a search has found. ``name`` is the path at its registry."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


class Registry(Protocol):
    """Registries, as configured by ``certs.d``."""

    def repository(
        self, host: str, path: str, credentials: Credentials | None, *, push: bool = False
    ) -> Repository: ...

    async def search(
        self, host: str, term: str, limit: int, credentials: Credentials | None
    ) -> Sequence[FoundRepository]:
        """Repositories of the registry ``host`` that have ``term`` in their name (or whatever its own search
        finds), at most ``limit``.

        Raises:
            Unauthenticated, PermissionDenied, Unavailable, DeadlineExceeded. NotFound: it can neither search nor list.
        """
        ...

    async def login(self, credentials: Credentials) -> str:
        """Check credentials against ``server_address``; an identity token where the registry gives one.

        Raises:
            Unauthenticated, Unavailable.
        """
        ...
