"""Small clients for the tests: CRI over grpclib, Docker's API over aiohttp."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

import aiohttp
from grpclib.client import Channel
from grpclib.encoding.base import CodecBase

from sharedrt.pb.runtime.v1 import (
    ContainerConfig,
    ContainerMetadata,
    ContainerStatus,
    ContainerStatusRequest,
    CreateContainerRequest,
    ExecSyncRequest,
    ExecSyncResponse,
    ImageServiceStub,
    ImageSpec,
    LinuxContainerConfig,
    LinuxPodSandboxConfig,
    PodSandboxConfig,
    PodSandboxMetadata,
    RemovePodSandboxRequest,
    RunPodSandboxRequest,
    RuntimeServiceStub,
    StartContainerRequest,
)

IMAGE = "docker.io/library/busybox:latest"


class Raw(CodecBase):
    """Bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: object, message_type: object) -> bytes:
        assert isinstance(message, bytes)
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:
        return data


@dataclass
class CriClient:
    """The CRI door, with the few shapes that tests need often."""

    runtime: RuntimeServiceStub
    images: ImageServiceStub
    log_root: Path

    def pod_config(self, name: str, **changes: Any) -> PodSandboxConfig:
        uid = uuid.uuid4().hex
        fields: dict[str, Any] = {
            "metadata": PodSandboxMetadata(name=name, uid=uid, namespace="default", attempt=0),
            "hostname": name,
            "log_directory": str(self.log_root / f"default_{name}_{uid}"),
            "linux": LinuxPodSandboxConfig(),
        }
        return PodSandboxConfig(**{**fields, **changes})

    async def run_pod(self, config: PodSandboxConfig, handler: str = "") -> str:
        reply = await self.runtime.run_pod_sandbox(
            RunPodSandboxRequest(config=config, runtime_handler=handler)
        )
        return reply.pod_sandbox_id

    async def remove_pod(self, id: str) -> None:
        await self.runtime.remove_pod_sandbox(RemovePodSandboxRequest(pod_sandbox_id=id))

    async def create(
        self, pod_id: str, pod: PodSandboxConfig, name: str, command: list[str], **changes: Any
    ) -> str:
        fields: dict[str, Any] = {
            "metadata": ContainerMetadata(name=name, attempt=0),
            "image": ImageSpec(image=IMAGE),
            "command": command,
            "log_path": f"{name}/0.log",
            "linux": LinuxContainerConfig(),
        }
        request = CreateContainerRequest(
            pod_sandbox_id=pod_id,
            config=ContainerConfig(**{**fields, **changes}),
            sandbox_config=pod,
        )
        return (await self.runtime.create_container(request)).container_id

    async def start(self, id: str) -> None:
        await self.runtime.start_container(StartContainerRequest(container_id=id))

    async def status(self, id: str) -> ContainerStatus:
        reply = await self.runtime.container_status(ContainerStatusRequest(container_id=id))
        return reply.status

    async def exec_sync(self, id: str, *command: str, timeout_s: int = 10) -> ExecSyncResponse:
        request = ExecSyncRequest(container_id=id, cmd=list(command), timeout=timeout_s)
        return await self.runtime.exec_sync(request)


@contextlib.asynccontextmanager
async def cri_client(socket: Path, log_root: Path) -> AsyncIterator[CriClient]:
    """A client of the CRI door at ``socket``; pods' logs go below ``log_root``."""
    async with Channel(path=str(socket)) as channel:
        yield CriClient(RuntimeServiceStub(channel), ImageServiceStub(channel), log_root)


@dataclass
class DockerClient:
    """Docker's HTTP API: status and parsed body of each call."""

    session: aiohttp.ClientSession
    version: str = "v1.51"

    async def call(
        self, method: str, path: str, *, json: Any = None, **query: str
    ) -> tuple[int, Any]:
        url = f"http://docker/{self.version}{path}"
        async with self.session.request(method, url, json=json, params=query) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def get(self, path: str, **query: str) -> tuple[int, Any]:
        return await self.call("GET", path, **query)

    async def post(self, path: str, *, json: Any = None, **query: str) -> tuple[int, Any]:
        return await self.call("POST", path, json=json, **query)

    async def told(self, path: str, **query: str) -> tuple[int, list[Any]]:
        """A POST's status, and the messages of its stream."""
        url = f"http://docker/{self.version}{path}"
        async with self.session.post(url, params=query) as response:
            text = await response.text()
            return response.status, [loads(line) for line in text.splitlines()]

    async def delete(self, path: str, **query: str) -> tuple[int, Any]:
        return await self.call("DELETE", path, **query)

    async def run(self, host: dict[str, Any], *command: str) -> str:
        """What a busybox with that HostConfig prints; it is removed. For what Debian's docker CLI cannot ask for."""
        body = {"Image": "busybox", "Cmd": command, "Tty": True, "HostConfig": host}
        status, made = await self.post("/containers/create", json=body)
        assert status == 201, made
        path = f"/containers/{made['Id']}"
        try:
            status, answer = await self.post(f"{path}/start")
            assert status == 204, answer
            await self.post(f"{path}/wait")
            _, printed = await self.get(f"{path}/logs", stdout="1", stderr="1")
        finally:
            await self.delete(path, force="1")
        return str(printed).replace("\r\n", "\n").strip()


@contextlib.asynccontextmanager
async def docker_client(socket: Path) -> AsyncIterator[DockerClient]:
    """A client of a Docker door."""
    connector = aiohttp.UnixConnector(str(socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield DockerClient(session)
