"""What a client asks to be built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sharedrt.model.drivers import Credentials
from sharedrt.model.records import DnsConfig, NetworkRequest
from sharedrt.model.spec import ContainerSpec


@dataclass(frozen=True, slots=True)
class RunTemplate:
    """What every RUN's container has: limits, confinement, name spaces, networks."""

    spec: ContainerSpec = field(default_factory=ContainerSpec)
    networks: tuple[NetworkRequest, ...] = ()
    dns: DnsConfig = DnsConfig()
    extra_hosts: tuple[str, ...] = ()


def _no_credentials(_: str) -> Credentials | None:
    return None


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """``remote``: where the context is instead of the request's body (a URL or a git repository).

    ``arguments``: a name without a value (``None``) is as if it were not given. ``cache_from``: images whose steps may
    be used again. ``remove``: containers of steps that went well; ``force_remove``: of failed ones too.
    ``secrets`` and ``ssh_sockets`` (host paths), by id: what RUN's mounts of those types show.
    """

    dockerfile: str = "Dockerfile"
    remote: str = ""
    tags: tuple[str, ...] = ()
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    no_cache: bool = False
    pull: bool = False
    cache_from: tuple[str, ...] = ()
    remove: bool = True
    force_remove: bool = False
    run: RunTemplate = field(default_factory=RunTemplate)
    credentials: Callable[[str], Credentials | None] = _no_credentials
    """Of a registry's host."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh_sockets: Mapping[str, str] = field(default_factory=dict)
    allow_insecure: bool = False
    """Policy: whether ``RUN --security=insecure`` is done."""
