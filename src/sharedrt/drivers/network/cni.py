"""CNI as libcni does it (:class:`sharedrt.model.drivers.CniNetwork`; CNI spec 1.1, section 3)."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final, cast

import structlog

from sharedrt.aio.completion import complete
from sharedrt.drivers.network.cni_config import (
    ConfigurationError,
    ConfigurationFolder,
    NetworkConfiguration,
    parse_configuration,
)
from sharedrt.drivers.network.cni_plugin import PluginError, find_plugin, run_plugin
from sharedrt.model.drivers import CniRequest, CniResult
from sharedrt.model.faults import FailedPrecondition, Unavailable
from sharedrt.model.records import DnsConfig, Json

log = structlog.get_logger(__name__)

INTERFACE: Final = "eth0"
_SLOW_S: Final = 5.0
_CACHE_KIND: Final = "cniCacheV1"
_BURST_BITS: Final = 2**31 - 1
"""What the bandwidth plugin is told to allow in one go: its largest, as other runtimes do."""


class CniPlugins:
    """Implements CniNetwork.

    Args:
        conf_dir: of the configurations; need not exist.
        bin_dirs: of the plugins, in order of preference.
        timeout_s: for each plugin's run.
    """

    def __init__(
        self, conf_dir: Path, bin_dirs: Sequence[Path], *, timeout_s: float = 60.0
    ) -> None:
        self._folder = ConfigurationFolder(conf_dir)
        self._bin_dirs = tuple(bin_dirs)
        self._timeout_s = timeout_s

    def configured(self) -> str:
        network = self._folder.current().network
        return network.name if network else ""

    def problem(self) -> str:
        selection = self._folder.current()
        if selection.network is None:
            return "; ".join(selection.problems)
        for plugin in selection.network.plugins:
            try:
                find_plugin(plugin["type"], self._bin_dirs)
            except PluginError as error:
                return f"CNI network {selection.network.name!r}: plugin {plugin['type']!r} {error}"
        return ""

    async def add(self, request: CniRequest) -> CniResult:
        network = self._folder.current().network
        if network is None:
            raise FailedPrecondition("CNI network", "", "there is no usable configuration")
        result: dict[str, Any] = {}
        try:
            for plugin in network.plugins:
                result = await self._run("ADD", network, plugin, request, result)
        except BaseException:
            # Plugins that ran leave things behind, and so may the failing one.
            await complete(self._undo(network, request, result))
            raise
        try:
            return _result(network, request, result)
        except (KeyError, TypeError, ValueError) as error:
            await complete(self._undo(network, request, result))
            raise Unavailable(f"CNI network {network.name!r}", f"bad result: {error}") from error

    async def delete(self, request: CniRequest, previous: Json) -> None:
        """By the configuration that ADD used, whatever the folder has now."""
        network, result = self._recall(previous)
        if network is not None:
            await self._delete(network, request, result)

    async def check(self, request: CniRequest, previous: Json) -> None:
        """Ask the plugins whether all is still in place. Raises Unavailable."""
        network, result = self._recall(previous)
        if network is None or network.disable_check or not network.with_previous_on_delete:
            return
        for plugin in network.plugins:
            await self._run("CHECK", network, plugin, request, result)

    def _recall(self, previous: Json) -> tuple[NetworkConfiguration | None, dict[str, Any]]:
        if isinstance(previous, dict) and previous.get("kind") == _CACHE_KIND:
            try:
                network = parse_configuration(json.dumps(previous["config"]).encode())
                return network, cast(dict[str, Any], previous["result"])
            except (KeyError, ConfigurationError) as error:
                log.warning("stored CNI result cannot be used", reason=str(error))
        return self._folder.current().network, {}

    async def _delete(
        self, network: NetworkConfiguration, request: CniRequest, result: Mapping[str, Any]
    ) -> None:
        previous = result if network.with_previous_on_delete else {}
        for plugin in reversed(network.plugins):
            await self._run("DEL", network, plugin, request, previous)

    async def _undo(
        self, network: NetworkConfiguration, request: CniRequest, result: Mapping[str, Any]
    ) -> None:
        previous = result if network.with_previous_on_delete else {}
        for plugin in reversed(network.plugins):
            try:
                await self._run("DEL", network, plugin, request, previous)
            except Unavailable as error:
                log.warning("cannot undo a failed CNI ADD", network=network.name, reason=str(error))

    async def _run(
        self,
        command: str,
        network: NetworkConfiguration,
        plugin: Mapping[str, Any],
        request: CniRequest,
        previous: Mapping[str, Any],
    ) -> dict[str, Any]:
        parameters = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": request.container_id,
            "CNI_NETNS": _netns(request, command),
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in request.args.items()),
            "CNI_PATH": ":".join(map(str, self._bin_dirs)),
        }
        stdin = json.dumps(_plugin_input(network, plugin, request, previous)).encode()
        begun = time.monotonic()
        try:
            program = find_plugin(plugin["type"], self._bin_dirs)
            return await run_plugin(program, parameters, stdin, self._timeout_s)
        except PluginError as error:
            raise Unavailable(
                f"CNI network {network.name!r}", f"plugin {plugin['type']!r} ({command}): {error}"
            ) from error
        finally:
            if (took_s := time.monotonic() - begun) > _SLOW_S:
                # What a pod waits for, and nothing else would tell.
                words = {"network": network.name, "plugin": plugin["type"], "command": command}
                log.warning("slow CNI plugin", **words, seconds=round(took_s, 1))


def _netns(request: CniRequest, command: str) -> str:
    """A namespace that is gone, after a reboot say, is said so by an empty path; only DEL may meet one."""
    path = str(request.netns)
    if command == "DEL" and (path == "." or not os.path.exists(path)):
        return ""
    return path


def _plugin_input(
    network: NetworkConfiguration,
    plugin: Mapping[str, Any],
    request: CniRequest,
    previous: Mapping[str, Any],
) -> dict[str, Any]:
    document = {**plugin, "name": network.name, "cniVersion": network.cni_version}
    document.pop("cniVersions", None)
    capabilities = plugin.get("capabilities") or {}
    known = _runtime_config(request)
    asked = {key: known[key] for key, on in capabilities.items() if on and key in known}
    if asked:
        document["runtimeConfig"] = asked
    if previous:
        document["prevResult"] = dict(previous)
    return document


def _runtime_config(request: CniRequest) -> dict[str, Any]:
    """What plugins may ask for by their capabilities (CNI conventions, "Dynamic plugin specific fields")."""
    config: dict[str, Any] = {}
    if request.port_mappings:
        config["portMappings"] = [
            {
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": mapping.protocol,
                "hostIP": mapping.host_ip,
            }
            for mapping in request.port_mappings
        ]
    if request.ingress_bps or request.egress_bps:
        bandwidth: dict[str, int] = {}
        for direction, rate in (("ingress", request.ingress_bps), ("egress", request.egress_bps)):
            if rate:
                bandwidth |= {f"{direction}Rate": rate, f"{direction}Burst": _BURST_BITS}
        config["bandwidth"] = bandwidth
    if request.cgroup_path:
        config["cgroupPath"] = request.cgroup_path
    if request.annotations:
        config["io.kubernetes.cri.pod-annotations"] = dict(request.annotations)
    return config


def _result(
    network: NetworkConfiguration, request: CniRequest, result: dict[str, Any]
) -> CniResult:
    interfaces = result.get("interfaces") or []
    addresses = []
    for ip in result.get("ips") or []:
        index = ip.get("interface")
        if (
            index is not None
            and 0 <= index < len(interfaces)
            and not interfaces[index].get("sandbox")
        ):
            continue  # the host's side
        addresses.append(str(ip_interface(ip["address"])))
    addresses.sort(key=lambda cidr: ip_interface(cidr).version)
    dns = result.get("dns") or {}
    return CniResult(
        addresses=tuple(addresses),
        raw={
            "kind": _CACHE_KIND,
            "networkName": network.name,
            "containerId": request.container_id,
            "ifName": INTERFACE,
            "config": network.to_json(),
            "result": result,
        },
        dns=DnsConfig(
            tuple(dns.get("nameservers") or ()),
            tuple(dns.get("search") or ()),
            tuple(dns.get("options") or ()),
        ),
    )
