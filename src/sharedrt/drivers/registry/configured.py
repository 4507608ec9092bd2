"""Which registries the configuration speaks of, for a client that asks."""

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from sharedrt.drivers.registry.hosts import DOCKER_HUB, PULL, HostsConfig
from sharedrt.model.drivers import ConfiguredRegistries, RegistryView
from sharedrt.model.faults import FailedPrecondition

_LOOPBACK: Final = ("::1/128", "127.0.0.0/8")


def configured_registries(roots: Sequence[Path], insecure: Sequence[str]) -> ConfiguredRegistries:
    """Docker Hub, every registry with a folder below ``roots``, and those listed as insecure. Blocking: reads files."""
    config = HostsConfig(roots, insecure)
    networks = tuple(entry for entry in insecure if _is_network(entry))
    names = {DOCKER_HUB, *_folders(roots), *(set(insecure) - set(networks))}
    views, problems = [], []
    for name in sorted(names):
        try:
            views.append(_view(config, name))
        except FailedPrecondition as fault:
            problems.append(str(fault))
    return ConfiguredRegistries(tuple(views), (*_LOOPBACK, *networks), tuple(problems))


def _view(config: HostsConfig, name: str) -> RegistryView:
    *mirrors, own = config.hosts_for(name)
    return RegistryView(
        name,
        tuple(
            f"{host.scheme}://{host.authority}{host.path.removesuffix('v2')}"
            for host in mirrors
            if PULL in host.capabilities
        ),
        own.scheme == "https" and not own.tls.skip_verify and not own.http_fallback,
    )


def _folders(roots: Sequence[Path]) -> set[str]:
    """Names of registries: ``HOST_PORT_`` is containerd's other way to write ``HOST:PORT``."""
    found = set()
    for root in roots:
        if root.is_dir():
            found |= {path.name for path in root.iterdir() if path.is_dir()}
    found.discard("_default")
    return {_registry(name) for name in found}


def _registry(folder: str) -> str:
    host, separator, port = folder.removesuffix("_").rpartition("_")
    if folder.endswith("_") and separator and port.isdecimal():
        return f"{host}:{port}"
    return folder


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return "/" in text
