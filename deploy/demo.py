"""The main job, shown: a pod over CRI and a container over Docker's API at once, from one daemon.

``demo.py CRI_SOCKET DOCKER_SOCKET POD_LOGS``. What a former run left is removed first, so it can be run again.
"""

import asyncio
import sys
from typing import Any

import aiohttp
from grpclib.client import Channel

from sharedrt.pb.runtime.v1 import (
    ContainerConfig,
    ContainerMetadata,
    CreateContainerRequest,
    ImageServiceStub,
    ImageSpec,
    LinuxContainerConfig,
    LinuxPodSandboxConfig,
    ListContainersRequest,
    ListImagesRequest,
    ListPodSandboxRequest,
    PodSandboxConfig,
    PodSandboxMetadata,
    RemovePodSandboxRequest,
    RunPodSandboxRequest,
    RuntimeServiceStub,
    StartContainerRequest,
)

IMAGE = "docker.io/library/busybox:latest"
NAME = "demo"


async def run_pod(runtime: RuntimeServiceStub, log_directory: str) -> None:
    for pod in (await runtime.list_pod_sandbox(ListPodSandboxRequest())).items:
        if pod.metadata.name == NAME:
            await runtime.remove_pod_sandbox(RemovePodSandboxRequest(pod_sandbox_id=pod.id))
    sandbox = PodSandboxConfig(
        metadata=PodSandboxMetadata(name=NAME, uid="demo-uid", namespace="default", attempt=0),
        hostname=NAME,
        log_directory=log_directory,
        linux=LinuxPodSandboxConfig(),
    )
    pod_id = (await runtime.run_pod_sandbox(RunPodSandboxRequest(config=sandbox))).pod_sandbox_id
    container = ContainerConfig(
        metadata=ContainerMetadata(name=NAME, attempt=0),
        image=ImageSpec(image=IMAGE),
        command=["sleep", "3600"],
        log_path="demo/0.log",
        linux=LinuxContainerConfig(),
    )
    created = await runtime.create_container(
        CreateContainerRequest(pod_sandbox_id=pod_id, config=container, sandbox_config=sandbox)
    )
    await runtime.start_container(StartContainerRequest(container_id=created.container_id))


async def run_container(docker: aiohttp.ClientSession) -> None:
    await docker.delete(f"http://docker/v1.51/containers/{NAME}", params={"force": "1"})
    # With an init the process ends at SIGTERM, so that deploy/down need not wait for the kill.
    body = {"Image": "busybox", "Cmd": ["sleep", "3600"], "HostConfig": {"Init": True}}
    async with docker.post(
        "http://docker/v1.51/containers/create", params={"name": NAME}, json=body
    ) as response:
        created = await response.json()
        if response.status != 201:
            raise SystemExit(f"docker create: {created['message']}")
    async with docker.post(f"http://docker/v1.51/containers/{created['Id']}/start") as response:
        if response.status != 204:
            raise SystemExit(f"docker start: {(await response.json())['message']}")


async def docker_list(docker: aiohttp.ClientSession, what: str) -> list[dict[str, Any]]:
    async with docker.get(f"http://docker/v1.51/{what}/json") as response:
        listed: list[dict[str, Any]] = await response.json()
        return listed


async def main(cri_socket: str, docker_socket: str, log_directory: str) -> None:
    channel = Channel(path=cri_socket)
    connector = aiohttp.UnixConnector(docker_socket)
    async with channel, aiohttp.ClientSession(connector=connector) as docker:
        runtime, images = RuntimeServiceStub(channel), ImageServiceStub(channel)
        await run_pod(runtime, log_directory)
        await run_container(docker)
        cri_seen = (await runtime.list_containers(ListContainersRequest())).containers
        cri_images = (await images.list_images(ListImagesRequest())).images
        docker_seen = await docker_list(docker, "containers")
        print("\nOver CRI, the kubelet sees:")
        for seen in cri_seen:
            print(
                f"  container {seen.id[:12]}  {seen.metadata.name}  pod {seen.pod_sandbox_id[:12]}"
            )
        print(f"  and {len(cri_images)} image(s) of its own")
        print("\nOver HTTP, Docker clients see:")
        for item in docker_seen:
            print(f"  container {item['Id'][:12]}  {item['Names'][0]}  {item['Status']}")
        print(f"  and {len(await docker_list(docker, 'images'))} image(s) of its own")
        shared = {seen.id for seen in cri_seen} & {item["Id"] for item in docker_seen}
        if shared or not cri_seen or not docker_seen:
            raise SystemExit(f"the namespaces are not apart: {shared or 'a listing is empty'}")


asyncio.run(main(*sys.argv[1:4]))
