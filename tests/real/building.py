"""Builds as tests ask for them: a folder, a Dockerfile, the real CLI's classic builder."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

import aiohttp

from tests.real.daemon import DaemonUnderTest


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files below a folder, which is made."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


async def build(
    daemon: DaemonUnderTest,
    folder: Path,
    dockerfile: str,
    *arguments: str,
    files: Mapping[str, str | bytes] | None = None,
    check: bool = True,
    timeout_s: float = 90,
) -> CompletedProcess[str]:
    """``docker build`` of a folder."""
    write(folder, {"Dockerfile": dockerfile, **(files or {})})
    return await daemon.run(
        "env",
        "DOCKER_BUILDKIT=0",
        "docker",
        "build",
        *arguments,
        str(folder),
        check=check,
        timeout_s=timeout_s,
    )


async def output(daemon: DaemonUnderTest, image: str, *command: str) -> str:
    """What a command prints in a container of an image."""
    return (await daemon.docker("run", "--rm", image, *command)).stdout


def tar(files: Mapping[str, str | bytes], mode: str = "w") -> bytes:
    """An archive; ``mode`` as of ``tarfile.open``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


async def post_build(
    daemon: DaemonUnderTest,
    context: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> tuple[int, str]:
    """A bare ``POST /build``: status and the answer's text."""
    connector = aiohttp.UnixConnector(str(daemon.socket("docker")))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(
            "http://docker/v1.51/build",
            data=context,
            params=query,
            headers={"Content-Type": "application/x-tar", **(headers or {})},
        ) as response,
    ):
        return response.status, await response.text()
