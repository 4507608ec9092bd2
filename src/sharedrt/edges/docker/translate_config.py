"""``Config`` of a create request, merged with the image's, as ``inspect`` shows it and the process gets it."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.translate_health import merge_health, translate_health
from sharedrt.edges.docker.words import bad_request
from sharedrt.model.records import Json
from sharedrt.model.spec import HealthCheck

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """The merged configuration."""

    user: str
    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    exposed_ports: tuple[str, ...]
    labels: Mapping[str, str]
    volumes: tuple[str, ...]
    """Paths of anonymous volumes that the client asked for."""
    image_volumes: tuple[str, ...]
    tty: bool
    open_stdin: bool
    stdin_once: bool
    hostname: str
    domainname: str
    stop_signal: str
    mac_address: str
    network_disabled: bool
    health_check: HealthCheck | None
    rendered: Mapping[str, Json] = field(repr=False)
    """As ``inspect`` shows it, without Hostname's default."""


def merge_config(body: Fields, image_config: Mapping[str, Any]) -> ContainerConfig:
    """The request's ``Config`` over the image's.

    Raises:
        Refusal: no command at all, a malformed field, or one that this daemon does not do.
    """
    image = Fields(image_config, "image config")
    health = merge_health(body.sub("Healthcheck"), image.sub("Healthcheck"))
    entrypoint, cmd = merge_command(body.optional_strings("Entrypoint"), body.strings("Cmd"), image)
    if not entrypoint and not cmd:
        raise bad_request("no command specified")
    client_env = body.strings("Env")
    for variable in client_env:
        if not variable or variable.startswith("="):
            raise bad_request(f"invalid environment variable: {variable}")
    env = merge_env(client_env, image.strings("Env"))
    ports = _union(image.keys("ExposedPorts"), body.keys("ExposedPorts"))
    labels = {**image.mapping("Labels"), **body.mapping("Labels")}
    client_volumes = body.keys("Volumes")
    volumes = _union(image.keys("Volumes"), client_volumes)
    user = body.text("User") or image.text("User")
    working_dir = body.text("WorkingDir") or image.text("WorkingDir")
    if working_dir and not working_dir.startswith("/"):
        raise bad_request(
            f"the working directory '{working_dir}' is invalid, it needs to be an absolute path"
        )
    if working_dir:
        working_dir = "/" + posixpath.normpath(working_dir).lstrip("/")
    stop_signal = body.text("StopSignal") or image.text("StopSignal")
    shell = body.strings("Shell") or image.strings("Shell")
    rendered: dict[str, Json] = {
        "Hostname": body.text("Hostname"),
        "Domainname": body.text("Domainname"),
        "User": user,
        "AttachStdin": body.boolean("AttachStdin"),
        "AttachStdout": body.boolean("AttachStdout"),
        "AttachStderr": body.boolean("AttachStderr"),
        "ExposedPorts": {port: {} for port in ports},
        "Tty": body.boolean("Tty"),
        "OpenStdin": body.boolean("OpenStdin"),
        "StdinOnce": body.boolean("StdinOnce"),
        "Env": list(env),
        "Cmd": list(cmd) or None,
        "Healthcheck": cast(Json, health),
        "Image": body.text("Image"),
        "Volumes": {path: {} for path in volumes} or None,
        "WorkingDir": working_dir,
        "Entrypoint": list(entrypoint) or None,
        "NetworkDisabled": body.boolean("NetworkDisabled"),
        "OnBuild": None,
        "Labels": dict(labels),
        "StopSignal": stop_signal,
        "StopTimeout": body.optional_integer("StopTimeout"),
        "Shell": list(shell),
    }
    for name in ("ExposedPorts", "Healthcheck", "NetworkDisabled", "StopSignal", "Shell"):
        if not rendered[name]:
            del rendered[name]
    if rendered["StopTimeout"] is None:
        del rendered["StopTimeout"]
    return ContainerConfig(
        user=user,
        env=env,
        entrypoint=entrypoint,
        cmd=cmd,
        working_dir=working_dir,
        exposed_ports=ports,
        labels=labels,
        volumes=client_volumes,
        image_volumes=image.keys("Volumes"),
        tty=body.boolean("Tty"),
        open_stdin=body.boolean("OpenStdin"),
        stdin_once=body.boolean("StdinOnce"),
        hostname=body.text("Hostname"),
        domainname=body.text("Domainname"),
        stop_signal=stop_signal,
        mac_address=body.text("MacAddress"),
        network_disabled=body.boolean("NetworkDisabled"),
        health_check=translate_health(Fields(health or {}, "Healthcheck"), shell),
        rendered=rendered,
    )


def merge_command(
    entrypoint: tuple[str, ...] | None, cmd: tuple[str, ...], image: Fields
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(entrypoint, cmd): an entrypoint of the client's drops the image's Cmd; ``[""]`` means none at all."""
    if not entrypoint:
        if not cmd:
            cmd = image.strings("Cmd")
        if entrypoint is None:
            entrypoint = image.strings("Entrypoint")
    if entrypoint == ("",):
        entrypoint = ()
    return entrypoint, cmd


def merge_env(client: Iterable[str], image: Iterable[str]) -> tuple[str, ...]:
    """The client's variables, then those of the image that it did not name."""
    client = tuple(client)
    named = {variable.partition("=")[0] for variable in client}
    return (*client, *(v for v in image if v.partition("=")[0] not in named))


def process_env(config: ContainerConfig, hostname: str) -> tuple[str, ...]:
    """What the process gets: the engine's defaults where neither client nor image set them.

    A variable without ``=`` is one that the client wants removed.
    """
    named = {variable.partition("=")[0] for variable in config.env}
    defaults = [DEFAULT_PATH, f"HOSTNAME={hostname}"]
    if config.tty:
        defaults.append("TERM=xterm")
    return (*(v for v in defaults if v.partition("=")[0] not in named), *config.env)


def _union(*lists: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for items in lists for item in items))
