"""``POST /build``'s query and headers into a BuildRequest: every parameter is done, or refused by name."""

import base64
import binascii
import json
import posixpath
from collections.abc import Callable, Mapping
from typing import Any, Final

from sharedrt.edges.docker import translate_security as security
from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.host_config import DEFAULT_SHM_BYTES
from sharedrt.edges.docker.image_access import credentials_of
from sharedrt.edges.docker.network_access import bridge_gateway
from sharedrt.edges.docker.translate_network import network_mode, translate_extra_hosts
from sharedrt.edges.docker.translate_resources import (
    translate_cgroup_parent,
    translate_resources,
    translate_ulimits,
)
from sharedrt.edges.docker.words import Refusal, bad_reference, bad_request, not_implemented
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.records import NetworkRequest
from sharedrt.model.spec import ContainerSpec, NamespaceMode, NamespaceRef, Namespaces
from sharedrt.services.builds import BuildRequest, RunTemplate
from sharedrt.wire.reference import parse_name

_DOCKER_HUB: Final = ("docker.io", "index.docker.io", "https://index.docker.io/v1/")
_SECRETS: Final = "X-Sharedrt-Build-Secrets"
"""base64url of ``{"secrets": {ID: base64}, "ssh": {ID: host path of an agent's socket}}``: an addition of ours, since
clients of the classic builder have no way to send secrets."""


def build_request(call: Call) -> BuildRequest:
    """Raises Refusal."""
    if call.text("version") not in ("", "1"):
        raise not_implemented("BuildKit (version=2 of the builder)")
    if call.flag("squash"):
        raise bad_request("squash is only supported with experimental mode")
    if call.text("outputs"):
        raise not_implemented("BuildKit's outputs")
    dockerfile = call.text("dockerfile") or "Dockerfile"
    if posixpath.normpath("/" + dockerfile) != posixpath.normpath(posixpath.join("/", dockerfile)):
        raise bad_request(f"Forbidden path outside the build context: {dockerfile}")
    if ".." in posixpath.normpath(dockerfile).split("/"):
        raise bad_request(f"Forbidden path outside the build context: {dockerfile}")
    secrets = _secrets(call)
    return BuildRequest(
        dockerfile=posixpath.normpath(dockerfile).lstrip("/"),
        remote=_remote(call),
        tags=_tags(call),
        arguments=_arguments(call),
        labels=_labels(call),
        target=call.text("target"),
        platform=call.text("platform"),
        no_cache=call.flag("nocache"),
        pull=call.flag("pull"),
        cache_from=_cache_from(call),
        remove=call.flag("rm", default=True),
        force_remove=call.flag("forcerm"),
        run=_template(call),
        credentials=_credentials(call),
        secrets=_decoded(secrets.mapping("secrets")),
        ssh_sockets=_agents(call, secrets),
        allow_insecure=call.door.settings.insecure_runs,
    )


def _remote(call: Call) -> str:
    remote = call.text("remote")
    if remote == "client-session":
        raise not_implemented("a context out of a BuildKit session")
    return remote


def _tags(call: Call) -> tuple[str, ...]:
    tags = []
    for text in call.texts("t"):
        try:
            reference = parse_name(text)
        except InvalidArgument as fault:
            raise bad_reference(fault) from fault
        if reference.digest is not None:
            raise bad_request("build tag cannot contain a digest")
        tags.append(str(reference.with_tag(reference.tag or "latest")))
    return tuple(dict.fromkeys(tags))


def _json(call: Call, name: str) -> Any:
    text = call.text(name)
    if not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"error reading {name}: {error}") from error


def _arguments(call: Call) -> Mapping[str, str | None]:
    value = _json(call, "buildargs")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        item is None or isinstance(item, str) for item in value.values()
    ):
        raise bad_request("error reading buildargs: not a map of strings")
    return dict(value)


def _labels(call: Call) -> Mapping[str, str]:
    value = _json(call, "labels")
    return Fields({"labels": value}).mapping("labels")


def _cache_from(call: Call) -> tuple[str, ...]:
    value = _json(call, "cachefrom")
    return Fields({"cachefrom": value}).strings("cachefrom")


def _template(call: Call) -> RunTemplate:
    """Limits and surroundings of every RUN, out of the query, by the rules for containers."""
    info = call.door.host
    host = Fields(
        {
            "Memory": call.integer("memory") or 0,
            "MemorySwap": call.integer("memswap") or 0,
            "CpuShares": call.integer("cpushares") or 0,
            "CpuPeriod": call.integer("cpuperiod") or 0,
            "CpuQuota": call.integer("cpuquota") or 0,
            "CpusetCpus": call.text("cpusetcpus"),
            "CpusetMems": call.text("cpusetmems"),
            "Ulimits": _json(call, "ulimits") or [],
            "ExtraHosts": [text for text in _extra_hosts(call) if text],
            "NetworkMode": call.text("networkmode"),
            "SecurityOpt": _json(call, "securityopt") or [],
        },
        "build",
    )
    if (isolation := call.text("isolation")) not in ("", "default"):
        raise bad_request(f'Unsupported isolation: "{isolation}"')
    mode = security.resolve_mode(network_mode(host), call.runtime.containers.get)
    networks: tuple[NetworkRequest, ...] = ()
    network = NamespaceRef()
    if mode == "host":
        network = NamespaceRef(NamespaceMode.HOST)
    elif mode.startswith("container:"):
        network = NamespaceRef(NamespaceMode.CONTAINER, mode.removeprefix("container:"))
    elif mode != "none":
        networks = (NetworkRequest(call.runtime.networks.get(mode).name),)
    cgroup = NamespaceMode.PRIVATE if info.cgroup_version == 2 else NamespaceMode.HOST
    spec = ContainerSpec(
        namespaces=Namespaces(network=network, cgroup=NamespaceRef(cgroup)),
        security=security.translate_security(host),
        resources=translate_resources(host, info.cpus),
        rlimits=translate_ulimits(host),
        shm_size_bytes=call.integer("shmsize") or DEFAULT_SHM_BYTES,
        cgroup_parent=translate_cgroup_parent(call.text("cgroupparent"), info.cgroup_driver),
    )
    return RunTemplate(
        spec=spec,
        networks=networks,
        extra_hosts=translate_extra_hosts(host, lambda: bridge_gateway(call.runtime)),
    )


def _extra_hosts(call: Call) -> list[str]:
    """One parameter with commas, or several."""
    return [text for joined in call.texts("extrahosts") for text in joined.split(",")]


# ---------------------------------------------------------------- headers


def _credentials(call: Call) -> Callable[[str], Credentials | None]:
    """``X-Registry-Config``: base64url of AuthConfigs by registry."""
    given = _header(call, "X-Registry-Config")
    known: dict[str, Credentials] = {}
    for name in given.raw:
        credentials = credentials_of(given.sub(name))
        if credentials is not None:
            known[name] = credentials

    def find(domain: str) -> Credentials | None:
        names = _DOCKER_HUB if domain in _DOCKER_HUB else (domain,)
        for name in names:
            for shown in (name, f"https://{name}", f"http://{name}", f"https://{name}/v1/"):
                if shown in known:
                    return known[shown]
        return None

    return find


def _secrets(call: Call) -> Fields:
    return _header(call, _SECRETS)


def _agents(call: Call, secrets: Fields) -> Mapping[str, str]:
    paths = secrets.mapping("ssh")
    if paths and not call.door.settings.agent_sockets:
        raise Refusal(
            403, "agents of this host are not allowed for builds by the policy of this daemon"
        )
    for path in paths.values():
        if not posixpath.isabs(path):
            raise bad_request(f"invalid {_SECRETS} header: {path!r} is no absolute path")
    return paths


def _decoded(texts: Mapping[str, str]) -> dict[str, bytes]:
    try:
        return {id: base64.b64decode(text, validate=True) for id, text in texts.items()}
    except binascii.Error as error:
        raise bad_request(f"invalid {_SECRETS} header: {error}") from error


def _header(call: Call, name: str) -> Fields:
    text = call.request.headers.get(name, "")
    if not text:
        return Fields({}, name)
    try:
        padded = text + "=" * (-len(text) % 4)
        value = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True) or b"{}")
    except (binascii.Error, ValueError, RecursionError) as error:
        raise bad_request(f"invalid {name} header: {error}") from error
    if value is None:  # what Go's client sends for none
        return Fields({}, name)
    if not isinstance(value, dict):
        raise bad_request(f"invalid {name} header: not an object")
    return Fields(value, name)
