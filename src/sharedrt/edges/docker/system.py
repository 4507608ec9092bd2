"""``/_ping``, ``/version``, ``/info``, ``/auth``, ``/system/df``."""

import asyncio
import os
import platform
import time
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from sharedrt.edges.docker import versions
from sharedrt.edges.docker.build_cache import build_cache
from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.container_lists import summaries, views
from sharedrt.edges.docker.host_abilities import cgroup_abilities, sysctl_is_on
from sharedrt.edges.docker.image_access import credentials_of
from sharedrt.edges.docker.image_lists import image_summaries, layers_size
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.translate_log import DEFAULT_DRIVER
from sharedrt.edges.docker.versions import NEWEST, OLDEST
from sharedrt.edges.docker.volumes import volumes_with_usage
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.drivers import ConfiguredRegistries
from sharedrt.services.networks.addresses import subnet_prefix
from sharedrt.wire.docker_time import format_time
from sharedrt.wire.reference import DEFAULT_DOMAIN

_PING_HEADERS: Final = {
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
}
_DF_TYPES: Final = ("container", "image", "volume", "build-cache")
_INDEX_SERVER: Final = "https://index.docker.io/v1/"


async def ping(call: Call) -> web.StreamResponse:
    return web.Response(text="OK", headers=_PING_HEADERS)


async def ping_head(call: Call) -> web.StreamResponse:
    headers = {**_PING_HEADERS, "Content-Length": "0"}
    return web.Response(headers=headers, content_type="text/plain")


async def get_version(call: Call) -> web.StreamResponse:
    host = call.door.host
    details = {
        "ApiVersion": str(NEWEST),
        "Arch": host.architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": host.git_commit,
        "GoVersion": f"none (Python {platform.python_version()})",
        "KernelVersion": host.kernel,
        "MinAPIVersion": str(OLDEST),
        "Os": host.go_os,
    }
    components: list[dict[str, Any]] = [
        {"Name": "Engine", "Version": host.version, "Details": details}
    ]
    components += [
        {"Name": name, "Version": version, "Details": {}} for name, version in host.components
    ]
    return answer(
        {
            "Platform": {"Name": "sharedrt"},
            "Components": components,
            "Version": host.version,
            "ApiVersion": str(NEWEST),
            "MinAPIVersion": str(OLDEST),
            "GitCommit": host.git_commit,
            "GoVersion": details["GoVersion"],
            "Os": host.go_os,
            "Arch": host.architecture,
            "KernelVersion": host.kernel,
            "BuildTime": "",
        }
    )


async def get_info(call: Call) -> web.StreamResponse:
    settings = call.door.settings
    registries = await asyncio.to_thread(settings.registries)
    rendered = _render_info(call, registries)
    devices = await asyncio.to_thread(settings.cdi_devices)
    rendered["DiscoveredDevices"] = [{"Source": "cdi", "ID": name} for name in devices]
    return answer(versions.info(call.version, rendered))


def _render_info(call: Call, registries: ConfiguredRegistries) -> dict[str, Any]:
    host, settings = call.door.host, call.door.settings
    statuses = [view.status for view in views(call)]
    running = statuses.count("running") + statuses.count("restarting")
    paused = statuses.count("paused")
    return {
        "ID": host.instance_id,
        "Containers": len(statuses),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(statuses) - running - paused,
        "Images": len(call.runtime.images.list()),
        "Driver": host.storage_driver,
        "DriverStatus": [list(pair) for pair in host.storage_status],
        "DockerRootDir": host.state_dir,
        "SystemStatus": None,
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
            "Authorization": None,
            "Log": ["journald", "json-file", "local", "syslog"],
        },
        **cgroup_abilities(host.cgroup_version),
        "IPv4Forwarding": sysctl_is_on("net/ipv4/ip_forward"),
        "Debug": settings.debug,
        "NFd": len(os.listdir("/proc/self/fd")),
        "OomKillDisable": host.cgroup_version == 1,
        "NGoroutines": len(asyncio.all_tasks()),
        "SystemTime": format_time(time.time_ns()),
        "LoggingDriver": DEFAULT_DRIVER,
        "CgroupDriver": host.cgroup_driver,
        "CgroupVersion": str(host.cgroup_version),
        "NEventsListener": call.door.event_listeners,
        "KernelVersion": host.kernel,
        "OperatingSystem": host.operating_system,
        "OSVersion": host.os_version,
        "OSType": host.go_os,
        "Architecture": host.machine,
        "IndexServerAddress": _INDEX_SERVER,
        "RegistryConfig": _registry_config(registries),
        "NCPU": host.cpus,
        "MemTotal": host.memory_bytes,
        "GenericResources": None,
        "HttpProxy": without_password(_variable("HTTP_PROXY")),
        "HttpsProxy": without_password(_variable("HTTPS_PROXY")),
        "NoProxy": _variable("NO_PROXY"),
        "Name": host.hostname,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": host.version,
        "Runtimes": {name: {"path": path} for name, path in host.runtimes.items()},
        "DefaultRuntime": host.default_runtime,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": settings.init_binary,
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": _component(call, "runc")},
        "InitCommit": {"ID": _component(call, "catatonit")},
        "SecurityOptions": list(host.security_options),
        "ProductLicense": "",
        "DefaultAddressPools": [_address_pool(pool) for pool in settings.address_pools],
        "FirewallBackend": {"Driver": "nftables"},
        "CDISpecDirs": list(settings.cdi_dirs),
        "Warnings": [*settings.warnings, *host.problems, *registries.problems] or None,
    }


def _registry_config(registries: ConfiguredRegistries) -> dict[str, Any]:
    configs = {
        view.name: {
            "Name": view.name,
            "Mirrors": list(view.mirrors),
            "Secure": view.secure,
            "Official": view.name == DEFAULT_DOMAIN,
        }
        for view in registries.views
    }
    return {
        "InsecureRegistryCIDRs": list(registries.insecure_networks),
        "IndexConfigs": configs,
        "Mirrors": configs.get(DEFAULT_DOMAIN, {}).get("Mirrors") or None,
    }


def _variable(name: str) -> str:
    """Of the environment, in either case, as Go's HTTP client reads it."""
    return os.environ.get(name) or os.environ.get(name.lower(), "")


def without_password(url: str) -> str:
    """Docker's mask in the place of what a URL says before its host."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=f"xxxxx:xxxxx@{parts.netloc.rpartition('@')[2]}").geturl()


def _address_pool(pool: str) -> dict[str, Any]:
    return {"Base": pool, "Size": subnet_prefix(pool)}


def _component(call: Call, name: str) -> str:
    return dict(call.door.host.components).get(name, "")


async def post_auth(call: Call) -> web.StreamResponse:
    body = await call.body(required=True)
    credentials = credentials_of(body)
    if credentials is None:
        raise bad_request("no credentials to check")
    token = await call.runtime.images.login(
        replace(credentials, server_address=credentials.server_address or _INDEX_SERVER)
    )
    return answer({"Status": "Login Succeeded", "IdentityToken": token})


async def get_system_df(call: Call) -> web.StreamResponse:
    types = set(call.texts("type")) or set(_DF_TYPES)
    if unknown := types - set(_DF_TYPES):
        raise bad_request(f"unknown object type: {min(unknown)}")
    rendered: dict[str, Any] = {
        "LayersSize": 0,
        "Images": None,
        "Containers": None,
        "Volumes": None,
        "BuildCache": None,
    }
    if "image" in types:
        rendered["LayersSize"] = layers_size(call.runtime.images)
        rendered["Images"] = image_summaries(
            call, call.runtime.images.list(), containers=True, shared=True
        )
    if "container" in types:
        rendered["Containers"] = await summaries(call, views(call), sizes=True)
    if "volume" in types:
        rendered["Volumes"] = await volumes_with_usage(call)
    if "build-cache" in types:
        rendered["BuildCache"] = await build_cache(call)
    return answer(versions.disk_usage(call.version, rendered))


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping_head),
    Route("GET", "/version", get_version),
    Route("GET", "/info", get_info),
    Route("POST", "/auth", post_auth),
    Route("GET", "/system/df", get_system_df),
)
