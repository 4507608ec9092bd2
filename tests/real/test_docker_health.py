"""Health checks by the docker CLI: states, results, events, and a daemon that comes anew."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

FAST = ("--health-interval", "300ms", "--health-retries", "2", "--health-timeout", "2s")


async def state(daemon: DaemonUnderTest, name: str) -> dict[str, Any]:
    done = await daemon.docker("inspect", "-f", "{{json .State}}", name)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def until(daemon: DaemonUnderTest, name: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while (found := await state(daemon, name))["Health"]["Status"] != status:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    health: dict[str, Any] = found["Health"]
    return health


async def test_from_starting_to_healthy_to_unhealthy(daemon: DaemonUnderTest) -> None:
    command = "test -e /ok && echo fine || { echo bad; exit 3; }"
    run = ("run", "-d", "--name", "web", *FAST, "--health-start-period", "30s")
    await daemon.docker(*run, "--health-cmd", command, "busybox", "sleep", "300")
    assert "(health: starting)" in (await daemon.docker("ps")).stdout
    # The start period forgives what fails, whose checks come every 5 s.
    assert (await state(daemon, "web"))["Health"]["FailingStreak"] == 0
    await daemon.docker("exec", "web", "touch", "/ok")
    health = await until(daemon, "web", "healthy")
    assert health["Log"][-1]["Output"] == "fine\n"
    assert "(healthy)" in (await daemon.docker("ps", "-f", "health=healthy")).stdout
    await daemon.docker("exec", "web", "rm", "/ok")
    health = await until(daemon, "web", "unhealthy")
    assert health["FailingStreak"] >= 2
    assert health["Log"][-1]["ExitCode"] == 3
    assert len(health["Log"]) <= 5
    told = await daemon.docker(
        *("events", "--since", "1m", "--until", f"{time.time():.9f}"),
        *("-f", "event=health_status"),
        *("--format", "{{.Action}}"),
    )
    assert told.stdout.split("\n")[:2] == ["health_status: healthy", "health_status: unhealthy"]
    await daemon.docker("rm", "-f", "web")


async def test_the_next_daemon_goes_on_checking(daemon: DaemonUnderTest) -> None:
    command = "test ! -e /bad"
    run = ("run", "-d", "--name", "live", *FAST, "--health-cmd", command)
    await daemon.docker(*run, "busybox", "sleep", "300")
    await until(daemon, "live", "healthy")
    await daemon.kill9()
    await daemon.start()
    assert (await state(daemon, "live"))["Health"]["Status"] == "healthy"
    await daemon.docker("exec", "live", "touch", "/bad")
    await until(daemon, "live", "unhealthy")
    await daemon.docker("exec", "live", "rm", "/bad")
    await until(daemon, "live", "healthy")
    await daemon.docker("stop", "-t", "0", "live")
    # As at dockerd: nobody looks any more.
    assert (await state(daemon, "live"))["Health"]["Status"] == "unhealthy"
    await daemon.docker("start", "live")
    assert (await state(daemon, "live"))["Health"]["Status"] in ("starting", "healthy")
    assert (await state(daemon, "live"))["Health"]["FailingStreak"] == 0
    await daemon.docker("rm", "-f", "live")


async def test_a_check_that_hangs_leaves_nothing_running(daemon: DaemonUnderTest) -> None:
    run = ("run", "-d", "--name", "hang", "--health-interval", "200ms", "--health-retries", "1")
    await daemon.docker(
        *run, "--health-timeout", "500ms", "--health-cmd", "sleep 77", "busybox", "sleep", "300"
    )
    health = await until(daemon, "hang", "unhealthy")
    assert health["Log"][0]["ExitCode"] == -1
    assert "exceeded timeout (500ms)" in health["Log"][0]["Output"]
    await asyncio.sleep(2)
    processes = (await daemon.docker("top", "hang")).stdout
    assert processes.count("sleep 77") <= 2, processes
    await daemon.docker("rm", "-f", "hang")


async def test_an_image_s_check_is_run_unless_it_is_refused(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    await daemon.docker("create", "--name", "base", "busybox")
    change = "HEALTHCHECK --interval=200ms --retries=1 CMD test -e /made"
    await daemon.docker("commit", "-c", change, "base", "checked:1")
    await daemon.docker("run", "-d", "--name", "own", "checked:1", "sleep", "60")
    await until(daemon, "own", "unhealthy")
    await daemon.docker("run", "-d", "--name", "no", "--no-healthcheck", "checked:1", "sleep", "60")
    assert "Health" not in await state(daemon, "no")
    _, listed = await docker.get("/containers/json", filters='{"health":["none"]}')
    assert [c["Names"] for c in listed] == [["/no"]]
    await daemon.docker("rm", "-f", "own", "no", "base")
