"""Docker Compose (Debian's docker-compose) with a project of three services on two networks."""

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.daemon import DaemonUnderTest
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PROJECT = """
version: "3.7"
services:
  store:
    image: busybox
    command: sh -c 'echo "{page}" >/data/index.html; exec httpd -f -p 80 -h /data'
    volumes: ["data:/data"]
    networks: {{back: {{aliases: [database]}}}}
    healthcheck: {{test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 1s, retries: 20}}
  app:
    build: {{context: ., args: {{WHO: compose}}}}
    image: composed/app
    depends_on: [store]
    ports: ["127.0.0.1::80"]
    networks: [front, back]
    environment: {{MODE: test}}
  worker:
    image: busybox
    command: sh -c 'echo at work; exec sleep 600'
    networks: [front]
    stop_grace_period: 1s
volumes: {{data: {{}}}}
networks: {{front: {{}}, back: {{internal: true}}}}
"""
DOCKERFILE = """
FROM busybox
ARG WHO
RUN mkdir /w && echo "built for $WHO" >/w/index.html
CMD ["sh", "-c", "wget -qO /w/store http://database/; exec httpd -f -p 80 -h /w"]
"""


class Project:
    def __init__(self, daemon: DaemonUnderTest, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        self.name = f"srt{daemon.number}"

    def write(self, page: str) -> None:
        (self.folder / "Dockerfile").write_text(DOCKERFILE)
        (self.folder / "docker-compose.yml").write_text(PROJECT.format(page=page))

    async def __call__(
        self, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return await self.daemon.run(
            *("env", "DOCKER_BUILDKIT=0", "COMPOSE_DOCKER_CLI_BUILD=0", "docker-compose"),
            *("-p", self.name, "-f", str(self.folder / "docker-compose.yml"), "--ansi", "never"),
            *arguments,
            check=check,
            timeout_s=120,
        )

    async def ids(self, service: str) -> list[str]:
        label = f"label=com.docker.compose.service={service}"
        return (await self.daemon.docker("ps", "-q", "-f", label)).stdout.split()

    async def wget(self, service: str, url: str) -> str:
        command = ("timeout", "5", "wget", "-qO-", url)  # busybox's own -T crashes
        done = await self("exec", "-T", service, *command, check=False)
        return done.stdout.strip()


@pytest_asyncio.fixture(loop_scope="module")
async def project(daemon: DaemonUnderTest, tmp_path: Path) -> AsyncIterator[Project]:
    made = Project(daemon, tmp_path)
    made.write("first page")
    yield made
    await made("down", "-v", "-t", "0", check=False)


async def test_a_project_from_up_to_down(daemon: DaemonUnderTest, project: Project) -> None:
    await project("up", "-d")
    assert [len(await project.ids(s)) for s in ("store", "app", "worker")] == [1, 1, 1]

    async def served() -> bool:
        return await project.wget("app", "http://127.0.0.1/store") == "first page"

    await until(served)
    port = (await project("port", "app", "80")).stdout.strip()
    page = await daemon.run("curl", "-sS", f"http://{port}/")
    assert page.stdout == "built for compose\n"
    # Each sees its own networks' names, and no others'.
    assert await project.wget("worker", "http://app/") == "built for compose"
    assert await project.wget("worker", "http://store/") == ""
    back = json.loads((await daemon.docker("network", "inspect", f"{project.name}_back")).stdout)[0]
    assert back["Internal"]
    assert len(back["Containers"]) == 2

    async def healthy() -> bool:
        (id,) = await project.ids("store")
        state = await daemon.docker("inspect", "-f", "{{.State.Health.Status}}", id)
        return state.stdout == "healthy\n"

    await until(healthy)
    await project("up", "-d", "--scale", "worker=3")
    assert len(await project.ids("worker")) == 3
    looked = await project("exec", "-T", "app", "nslookup", "worker")
    assert looked.stdout.count("Address: ") == 3
    assert (await project("logs", "--no-color", "worker")).stdout.count("at work") == 3
    assert (
        await project("exec", "-T", "app", "sh", "-c", "echo $MODE; exit 5", check=False)
    ).returncode == 5
    await project("up", "-d", "--scale", "worker=1")
    assert len(await project.ids("worker")) == 1
    # A changed service is made anew on its old volume, the others stay.
    before = await project.ids("app")
    project.write("second page")
    said = await project("up", "-d")
    assert f"Recreating {project.name}_store_1" in said.stdout + said.stderr
    assert await project.ids("app") == before

    async def changed() -> bool:
        return await project.wget("app", "http://database/") == "second page"

    await until(changed)
    await project("down", "-v", "-t", "1")
    for kind in ("ps -aq", "network ls -q", "volume ls -q"):
        left = await daemon.docker(
            *kind.split(), "-f", f"label=com.docker.compose.project={project.name}"
        )
        assert left.stdout == "", kind
