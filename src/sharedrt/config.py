"""The daemon's configuration: one TOML file, every key optional, unknown keys refused by name and line.

Each table of the file is a dataclass here; its fields are the keys, their defaults the documentation's.
Two daemons run side by side when ``[daemon]``'s folders, the sockets, the network names and the cgroup
parent differ; ``deploy/config.toml`` shows all of it.
"""

import re
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from sharedrt.model.faults import InvalidArgument


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """Folders and process-wide settings."""

    state_dir: Path = Path("/var/lib/sharedrt")
    """Survives a reboot: database, blobs, snapshots, container folders, logs of Docker containers."""
    run_dir: Path = Path("/run/sharedrt")
    """Gone after a reboot: sockets, bundles, pinned namespaces, pid and exit files."""
    log_level: str = "info"
    log_format: str = "console"
    """``console`` or ``json``."""


@dataclass(frozen=True, slots=True)
class CriConfig:
    socket: Path | None = None
    """Default: ``cri.sock`` in the run folder; the same rule for the other sockets."""
    enabled: bool = True
    pinned_images: tuple[str, ...] = ()
    """Shell patterns of full names; a kubelet never collects such images."""


@dataclass(frozen=True, slots=True)
class DockerConfig:
    socket: Path | None = None
    group: str = "docker"
    """Group that may use the socket; the socket is root's alone where the host has no such group."""
    tcp: str = ""
    """``address:port`` for the HTTP API; only loopback addresses without TLS."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ContainerdConfig:
    socket: Path | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class AdminConfig:
    socket: Path | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    address: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class StoreConfig:
    path: Path | None = None
    """Default: ``sharedrt.db`` in the state folder."""
    events_keep: int = 10_000


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    config_dirs: tuple[Path, ...] = (Path("/etc/sharedrt/certs.d"), Path("/etc/containerd/certs.d"))
    """Folders of ``HOST/hosts.toml``; the first that has a host's folder wins."""
    insecure: tuple[str, ...] = ()
    stall_timeout_s: float = 60.0
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5


@dataclass(frozen=True, slots=True)
class DownloadsConfig:
    """What clients have the daemon fetch by URL: imports, build contexts, ADD."""

    denied_networks: tuple[str, ...] = ()
    """CIDRs that nothing is fetched from, by no redirect either."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    default_handler: str = ""
    """Empty: crun where it can run, runc otherwise."""
    handlers: dict[str, str] = field(default_factory=lambda: {"crun": "crun", "runc": "runc"})
    """Name to binary (a path, or a name looked up in PATH)."""
    conmon: str = "conmon"
    catatonit: str = "catatonit"
    criu: str = "criu"
    """A file of that very name: OCI runtimes look it up in PATH, where its folder goes first."""
    cgroup_driver: str = "auto"
    """``auto`` (systemd where it runs the host), ``cgroupfs`` or ``systemd``."""
    cgroup_parent: str = "sharedrt"
    """Below it containers without a parent of their own live, by namespace."""
    cdi_dirs: tuple[Path, ...] = (Path("/etc/cdi"), Path("/var/run/cdi"))
    """Of CDI device files; a device in a later folder hides one of an earlier."""
    image_bytes_max: int = 64 << 30
    layer_entries_max: int = 4_000_000


@dataclass(frozen=True, slots=True)
class BuildsConfig:
    """What each namespace's build cache may keep: the longest unused goes first."""

    cache_bytes_max: int = 20 << 30
    cache_days_max: int = 30
    insecure_runs: bool = False
    """Whether ``RUN --security=insecure`` is done, which is root's power over the host."""
    agent_sockets: bool = True
    """Whether a client may name an SSH agent's socket on this host for ``RUN --mount=type=ssh``. Whoever may mount
    host paths into containers gains nothing by it."""


@dataclass(frozen=True, slots=True)
class CniConfig:
    conf_dir: Path = Path("/etc/cni/net.d")
    bin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    bridge: str = "sharedrt0"
    """Of Docker's network ``bridge``."""
    subnet: str = "172.29.0.0/16"
    pod_bridge: str = "srpods0"
    """Of the built-in pod network, used while there is no CNI configuration."""
    pod_subnet: str = "10.88.0.0/16"
    """IPv4 or IPv6; a pod's first address is from it."""
    pod_second_subnet: str = ""
    """Of the other family: each pod has an address of both then."""
    nft_table: str = "sharedrt"
    pools: tuple[str, ...] = ("172.30.0.0/15", "192.168.192.0/18")
    """Where user-defined networks take their subnets from."""
    interface_prefix: str = "sr"
    """Of the host's ends of veth pairs; at most 4 characters."""
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    daemon: DaemonConfig = DaemonConfig()
    cri: CriConfig = CriConfig()
    docker: DockerConfig = DockerConfig()
    containerd: ContainerdConfig = ContainerdConfig()
    admin: AdminConfig = AdminConfig()
    streaming: StreamingConfig = StreamingConfig()
    store: StoreConfig = StoreConfig()
    registry: RegistryConfig = RegistryConfig()
    downloads: DownloadsConfig = DownloadsConfig()
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    builds: BuildsConfig = BuildsConfig()
    cni: CniConfig = CniConfig()
    network: NetworkConfig = NetworkConfig()

    def socket(self, door: str) -> Path:
        """Path of a door's socket: configured, or ``DOOR.sock`` in the run folder."""
        configured: Path | None = getattr(self, door).socket
        return configured or self.daemon.run_dir / f"{door}.sock"

    @property
    def database(self) -> Path:
        return self.store.path or self.daemon.state_dir / "sharedrt.db"


def load_config(path: Path) -> Config:
    """Read the file.

    Raises:
        InvalidArgument: it cannot be read, is no TOML, or has an unknown key or a value of another
            type; names the key and the line.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidArgument(
            "configuration file", str(path), error.strerror or "cannot be read"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidArgument("configuration file", str(path), f"is no UTF-8: {error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    """The same from text; ``source`` names it in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument("configuration", source, str(error)) from error
    config: Config = _Reader(text, source).table(Config, data, ())
    return config


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._lines = text.splitlines()
        self._source = source

    def table(self, cls: type[Any], data: dict[str, Any], where: tuple[str, ...]) -> Any:
        hints = get_type_hints(cls)
        known = {f.name for f in fields(cls)}
        values = {}
        for key, value in data.items():
            if key not in known:
                raise self._fault(
                    (*where, key), f"unknown key; known here: {', '.join(sorted(known))}"
                )
            values[key] = self._value(hints[key], value, (*where, key))
        return cls(**values)

    def _value(self, hint: Any, value: Any, where: tuple[str, ...]) -> Any:
        if is_dataclass(hint) and isinstance(hint, type):
            if not isinstance(value, dict):
                raise self._fault(where, "must be a table")
            return self.table(hint, value, where)
        origin, args = get_origin(hint), get_args(hint)
        if origin is tuple:
            if not isinstance(value, list):
                raise self._fault(where, "must be a list")
            return tuple(self._value(args[0], item, where) for item in value)
        if origin is dict:
            if not isinstance(value, dict):
                raise self._fault(where, "must be a table")
            return {key: self._value(args[1], item, (*where, key)) for key, item in value.items()}
        target = next(arg for arg in args if arg is not type(None)) if args else hint
        if target is Path and isinstance(value, str):
            if not value.startswith("/"):
                raise self._fault(where, f"must be an absolute path, not {value!r}")
            return Path(value)
        if target is float and type(value) is int:
            return float(value)
        if type(value) is not target:
            raise self._fault(where, f"must be {target.__name__}, not {type(value).__name__}")
        return value

    def _fault(self, where: tuple[str, ...], reason: str) -> InvalidArgument:
        line = self._line_of(where)
        return InvalidArgument(
            "configuration key", ".".join(where), f"{reason} ({self._source}:{line})"
        )

    def _line_of(self, where: tuple[str, ...]) -> int:
        """The line of a key: tomllib keeps no positions, so look for it below its table's header."""
        table, key = ".".join(where[:-1]), re.escape(where[-1])
        current = ""
        for number, line in enumerate(self._lines, 1):
            if header := re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line):
                current = header[1].replace(" ", "")
                if current in (".".join(where), f"{table}.{where[-1]}"):
                    return number
                continue
            full = f"{re.escape(table)}\\s*\\.\\s*{key}" if table else key
            if (current == table and re.match(rf'\s*"?{key}"?\s*=', line)) or (
                not current and re.match(rf"\s*{full}\s*=", line)
            ):
                return number
        return 1
