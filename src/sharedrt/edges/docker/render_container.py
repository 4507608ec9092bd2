"""Containers as ``ps`` and ``inspect`` show them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sharedrt.edges.docker.container_view import ContainerView
from sharedrt.edges.docker.human import human_duration
from sharedrt.edges.docker.render_network_settings import (
    NetworkNames,
    render_network_settings,
    render_networks,
    render_port_list,
)
from sharedrt.model.drivers import Usage
from sharedrt.model.records import EndpointRecord, Health
from sharedrt.services.contracts import HostInfo, LayerFolders
from sharedrt.wire.docker_time import format_time

_NS = 1_000_000_000
_HEALTH: Final = {
    "none": "",
    "starting": " (health: starting)",
    "healthy": " (healthy)",
    "unhealthy": " (unhealthy)",
}


def render_summary(
    view: ContainerView,
    endpoints: Sequence[EndpointRecord],
    names: NetworkNames,
    image: str,
    *,
    mounts: Sequence[Mapping[str, Any]],
    now_ns: int,
) -> dict[str, Any]:
    """One element of ``GET /containers/json``; ``image`` is the name that stands for it now, ``mounts`` are its
    MountPoints."""
    record = view.record
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": image,
        "ImageID": record.image_id,
        "Command": _command_line(view.argv),
        "Created": record.created_ns // _NS,
        "Ports": render_port_list(view, endpoints),
        "Labels": dict(record.labels),
        "State": view.status,
        "Status": status_text(view, now_ns),
        "HostConfig": {
            "NetworkMode": view.network_mode,
            "Annotations": dict(record.spec.annotations),
        },
        "NetworkSettings": {"Networks": render_networks(view, endpoints, names)},
        "Mounts": list(mounts),
    }


def status_text(view: ContainerView, now_ns: int) -> str:
    """``Up 2 minutes``, ``Exited (1) 5 seconds ago`` ..."""
    record = view.record
    match view.status:
        case "running":
            return f"Up {human_duration(now_ns - record.started_ns)}{_HEALTH[view.health]}"
        case "paused":
            return f"Up {human_duration(now_ns - record.started_ns)} (Paused)"
        case "restarting":
            ago = human_duration(now_ns - record.finished_ns)
            return f"Restarting ({record.exit_code}) {ago} ago"
        case "created":
            return "Created"
        case _:
            ago = human_duration(now_ns - record.finished_ns)
            return f"Exited ({record.exit_code}) {ago} ago"


def render_inspect(
    view: ContainerView,
    endpoints: Sequence[EndpointRecord],
    names: NetworkNames,
    host: HostInfo,
    *,
    mounts: Sequence[Mapping[str, Any]],
    exec_ids: Sequence[str],
    etc_folder: str,
    layers: LayerFolders,
) -> dict[str, Any]:
    """``GET /containers/{id}/json``.

    Args:
        etc_folder: host folder of the generated resolv.conf, hosts and hostname; empty: unknown.
    """
    record = view.record
    argv = view.argv
    folder = f"{etc_folder}/" if etc_folder else ""
    return {
        "Id": record.id,
        "Created": format_time(record.created_ns),
        "Path": argv[0] if argv else "",
        "Args": list(argv[1:]),
        "State": render_state(view),
        "Image": record.image_id,
        "ResolvConfPath": f"{folder}resolv.conf" if folder else "",
        "HostnamePath": f"{folder}hostname" if folder else "",
        "HostsPath": f"{folder}hosts" if folder else "",
        "LogPath": record.log_path,
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": host.storage_driver,
        "Platform": host.go_os,
        "MountLabel": record.spec.security.selinux_mount_label,
        "ProcessLabel": record.spec.security.selinux_process_label,
        "AppArmorProfile": record.spec.security.apparmor_profile,
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": view.host_config,
        "GraphDriver": {"Name": host.storage_driver, "Data": _render_layers(layers)},
        "Mounts": list(mounts),
        "Config": _config(view),
        "NetworkSettings": render_network_settings(view, endpoints, names),
    }


def _render_layers(layers: LayerFolders) -> dict[str, str]:
    return {
        "LowerDir": ":".join(layers.lower),
        "MergedDir": layers.merged,
        "UpperDir": layers.upper,
        "WorkDir": layers.work,
    }


def _config(view: ContainerView) -> Mapping[str, Any]:
    """With the hardware address that was asked for on the main network, where clients used to give it."""
    first = next(iter(view.record.networks), None)
    return {**view.config, "MacAddress": first.mac} if first and first.mac else view.config


def render_state(view: ContainerView) -> dict[str, Any]:
    """``State`` of inspect."""
    record = view.record
    rendered = {
        "Status": view.status,
        "Running": view.running,
        "Paused": record.paused,
        "Restarting": view.restarting,
        "OOMKilled": record.oom_killed,
        "Dead": False,
        "Pid": record.pid,
        "ExitCode": record.exit_code,
        "Error": view.error,
        "StartedAt": format_time(record.started_ns),
        "FinishedAt": format_time(record.finished_ns if view.has_run else 0),
    }
    if record.health is not None:
        rendered["Health"] = _render_health(record.health)
    return rendered


def _render_health(health: Health) -> dict[str, Any]:
    return {
        "Status": health.status.value,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": format_time(result.started_ns),
                "End": format_time(result.ended_ns),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.results
        ],
    }


def add_sizes(rendered: dict[str, Any], writable: Usage, image_bytes: int) -> dict[str, Any]:
    """``size=1``: the writable layer, and all together."""
    rendered["SizeRw"] = writable.content_bytes
    rendered["SizeRootFs"] = writable.content_bytes + image_bytes
    return rendered


def _command_line(argv: Sequence[str]) -> str:
    return " ".join(f"'{arg}'" if " " in arg else arg for arg in argv)


def now_ns() -> int:
    """The clock of all answers."""
    return time.time_ns()
