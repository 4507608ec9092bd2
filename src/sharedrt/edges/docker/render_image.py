"""Images as ``images``, ``image inspect`` and ``history`` show them."""

from collections.abc import Sequence
from typing import Any

from sharedrt.edges.docker.image_access import familiar, image_config
from sharedrt.model.records import Descriptor
from sharedrt.services.contracts import HostInfo
from sharedrt.services.images import Image
from sharedrt.wire.docker_time import ZERO_TIME, format_time, parse_timestamp

_NS = 1_000_000_000


def created_ns(image: Image) -> int:
    """When it was built, by its own configuration; 0 when that does not say."""
    try:
        return max(parse_timestamp(image.config.created, now_ns=0), 0)
    except ValueError:
        return 0


def render_image_summary(image: Image, *, containers: int, shared_bytes: int) -> dict[str, Any]:
    """One ImageSummary; -1 stands for a figure that was not asked for."""
    return {
        "Id": image.id,
        "ParentId": "",
        "RepoTags": [familiar(name) for name in image.repo_tags],
        "RepoDigests": [familiar(name) for name in image.repo_digests],
        "Created": created_ns(image) // _NS,
        "Size": image.unpacked_size_bytes,
        "SharedSize": shared_bytes,
        "Labels": dict(image.config.labels) or None,
        "Containers": containers,
    }


def render_image_inspect(image: Image, host: HostInfo) -> dict[str, Any]:
    """``GET /images/{name}/json``."""
    config, raw = image.config, image.config.raw
    history = config.history
    rendered: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": [familiar(name) for name in image.repo_tags],
        "RepoDigests": [familiar(name) for name in image.repo_digests],
        "Parent": str(raw.get("parent") or "") if isinstance(raw, dict) else "",
        "Comment": history[-1].comment if history else "",
        "Created": config.created or ZERO_TIME,
        "DockerVersion": str(raw.get("docker_version") or "") if isinstance(raw, dict) else "",
        "Author": config.author,
        "Config": _render_config(image),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.unpacked_size_bytes,
        "GraphDriver": {"Name": host.storage_driver, "Data": None},
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Metadata": {"LastTagTime": format_time(image.updated_ns)},
    }
    if config.variant:
        rendered["Variant"] = config.variant
    return rendered


def _render_config(image: Image) -> dict[str, Any]:
    given = image_config(image)
    rendered: dict[str, Any] = {
        "User": image.config.user,
        "ExposedPorts": {port: {} for port in image.config.exposed_ports},
        "Env": list(image.config.env) or None,
        "Cmd": list(image.config.cmd) or None,
        "Healthcheck": given.get("Healthcheck"),
        "ArgsEscaped": given.get("ArgsEscaped"),
        "Volumes": {path: {} for path in image.config.volumes} or None,
        "WorkingDir": image.config.cwd,
        "Entrypoint": list(image.config.entrypoint) or None,
        "OnBuild": list(image.config.onbuild) or None,
        "Labels": dict(image.config.labels) or None,
        "StopSignal": image.config.stop_signal,
        "Shell": list(image.config.shell),
    }
    for name in ("ExposedPorts", "Healthcheck", "ArgsEscaped", "StopSignal", "Shell"):
        if not rendered[name]:
            del rendered[name]
    return rendered


def render_manifests(image: Image, users: Sequence[str]) -> dict[str, Any]:
    """What a client gets that asks for manifests: the image's Descriptor, and an ImageManifestSummary of the one
    platform that is here. An engine whose images have their configuration's digest for an id, as ours have, does not
    tell either unasked.

    Args:
        users: ids of its containers.
    """
    total = image.content_size_bytes + image.unpacked_size_bytes
    summary = {
        "ID": image.manifest,
        "Descriptor": render_descriptor(image.manifest_descriptor),
        "Available": True,
        "Size": {"Content": image.content_size_bytes, "Total": total},
        "Kind": "image",
        "ImageData": {
            "Platform": render_platform(image.config.platform),
            "Containers": list(users),
            "Size": {"Unpacked": image.unpacked_size_bytes},
        },
    }
    return {"Descriptor": render_descriptor(image.target), "Manifests": [summary]}


def render_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    """An OCIDescriptor."""
    rendered: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        rendered["annotations"] = dict(descriptor.annotations)
    return rendered


def render_platform(text: str) -> dict[str, str]:
    """An OCIPlatform of ``os/architecture[/variant]``."""
    os, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    rendered = {"architecture": architecture, "os": os}
    if variant:
        rendered["variant"] = variant
    return rendered
