"""A container as this door sees it: its record, and what the door has kept with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sharedrt.edges.docker.host_config import complete_host_config
from sharedrt.edges.docker.translate_config import merge_env
from sharedrt.edges.docker.translate_create import EXTENSION
from sharedrt.model.records import ContainerRecord, ContainerState, Json
from sharedrt.model.spec import NamespaceMode


@dataclass(frozen=True, slots=True)
class ContainerView:
    """``restarting``: its restart policy is about to start it again."""

    record: ContainerRecord
    restarting: bool = False

    @property
    def extension(self) -> Mapping[str, Json]:
        """What this door has kept; empty for a container that came in by another door."""
        kept = self.record.extensions.get(EXTENSION)
        return kept if isinstance(kept, dict) else {}

    @property
    def config(self) -> dict[str, Json]:
        kept = self.extension.get("Config")
        return dict(kept) if isinstance(kept, dict) else _config_of(self.record)

    @property
    def host_config(self) -> dict[str, Json]:
        kept = self.extension.get("HostConfig")
        return dict(kept) if isinstance(kept, dict) else _host_config_of(self.record)

    @property
    def network_mode(self) -> str:
        return str(self.host_config.get("NetworkMode") or "bridge")

    @property
    def stop_timeout_s(self) -> int | None:
        value = self.config.get("StopTimeout")
        return value if isinstance(value, int) else None

    @property
    def status(self) -> str:
        """Docker's word for the state."""
        record = self.record
        if self.restarting:
            return "restarting"
        if record.state is ContainerState.RUNNING:
            return "paused" if record.paused else "running"
        # What has never run has not exited, whatever its starts came to.
        if record.state is ContainerState.CREATED or not record.started_ns:
            return "created"
        return "exited"

    @property
    def health(self) -> str:
        """Docker's word for it: ``none`` without a check."""
        return self.record.health.status.value if self.record.health is not None else "none"

    @property
    def running(self) -> bool:
        return self.record.state is ContainerState.RUNNING or self.restarting

    @property
    def argv(self) -> tuple[str, ...]:
        """The process's arguments, the program first."""
        spec, image = self.record.spec, self.record.image_defaults
        if spec.command is not None:
            return (*spec.command, *(spec.args or ()))
        return (*image.entrypoint, *(image.cmd if spec.args is None else spec.args))

    @property
    def exposed_ports(self) -> tuple[str, ...]:
        ports = self.config.get("ExposedPorts")
        return tuple(ports) if isinstance(ports, dict) else ()


def _config_of(record: ContainerRecord) -> dict[str, Json]:
    spec, image = record.spec, record.image_defaults
    return {
        "Hostname": spec.hostname,
        "Domainname": spec.domainname,
        "User": spec.user.name or image.user,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": spec.tty,
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Env": list(merge_env(spec.env, image.env)),
        "Cmd": list(spec.args if spec.args is not None else image.cmd),
        "Image": record.image_reference,
        "Volumes": None,
        "WorkingDir": spec.cwd or image.cwd,
        "Entrypoint": list(spec.command if spec.command is not None else image.entrypoint) or None,
        "OnBuild": None,
        "Labels": dict(record.labels),
    }


def _host_config_of(record: ContainerRecord) -> dict[str, Json]:
    spec = record.spec
    mode = {NamespaceMode.HOST: "host", NamespaceMode.PRIVATE: "none"}
    network = record.networks[0].network if record.networks else ""
    settled: dict[str, Json] = {
        "NetworkMode": network or mode.get(spec.namespaces.network.mode, "none"),
        "Runtime": record.runtime_handler,
        "AutoRemove": record.auto_remove,
        "Privileged": spec.security.privileged,
        "ReadonlyRootfs": spec.security.readonly_rootfs,
        "Memory": spec.resources.memory_bytes or 0,
        "RestartPolicy": {
            "Name": record.restart_policy,
            "MaximumRetryCount": record.restart_max_retries,
        },
    }
    return complete_host_config({}, settled)
