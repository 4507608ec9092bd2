"""The sharedrt command line against a real daemon."""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.real.clients import IMAGE, CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_version_and_check(daemon: DaemonUnderTest) -> None:
    version = json.loads((await daemon.cli("version", "--json")).stdout)
    assert {"conmon", "runc"} <= set(version["daemon"]["components"])
    findings = json.loads((await daemon.cli("check", "--json", check=False)).stdout)
    levels = {f["subject"]: f["level"] for f in findings}
    assert levels["conmon"] == levels["nft"] == levels["daemon"] == "ok"
    assert str(daemon.root) in next(f["detail"] for f in findings if f["subject"] == "state folder")


async def test_listings_of_both_worlds_and_stop_all(
    daemon: DaemonUnderTest, cri: CriClient, docker: DockerClient
) -> None:
    pod = await cri.run_pod(config := cri.pod_config("cli"))
    inner = await cri.create(pod, config, "cli", ["sleep", "600"])
    await cri.start(inner)
    status, created = await docker.post(
        "/containers/create", json={"Image": "busybox", "Cmd": ["sleep", "600"]}, name="cli"
    )
    assert status == 201, created
    await docker.post(f"/containers/{created['Id']}/start")
    table = (await daemon.cli("containers")).stdout
    assert inner[:12] in table
    assert created["Id"][:12] in table
    assert inner[:12] not in (await daemon.cli("containers", "-n", "moby")).stdout
    [listed] = json.loads((await daemon.cli("pods", "--json")).stdout)
    assert (listed["id"], listed["state"], listed["containers"]) == (pod, "ready", 1)
    assert listed["addresses"]
    samples = await metric(daemon, "sharedrt_containers")
    assert samples[("k8s.io", "running")] == 1
    assert samples[("moby", "running")] == 1

    await daemon.cli("stop-all")
    states = {
        c["id"]: c["state"] for c in json.loads((await daemon.cli("containers", "--json")).stdout)
    }
    assert states == {inner: "exited", created["Id"]: "exited"}
    assert (await daemon.cli("stop-all")).stdout == "", "doing it again does nothing"
    await cri.remove_pod(pod)
    await docker.delete(f"/containers/{created['Id']}", force="1")


async def metric(daemon: DaemonUnderTest, name: str) -> dict[tuple[str, ...], float]:
    connector = aiohttp.UnixConnector(str(daemon.socket("admin")))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://admin/metrics") as response,
    ):
        text = await response.text()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    return {tuple(s.labels.values()): s.value for s in families[name].samples}


async def test_metrics_count_what_was_done(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await docker.get("/containers/json")
    await daemon.ctr("-n", "moby", "containers", "ls")
    http = await metric(daemon, "sharedrt_http_requests")
    assert any(labels[0] == "docker" and labels[-1] == "200" for labels in http)
    grpc = await metric(daemon, "sharedrt_grpc_calls")
    assert any("Containers/List" in labels[0] and labels[1] == "OK" for labels in grpc)
    assert sum((await metric(daemon, "sharedrt_store_commit_use_cases")).values()) > 0
    assert sum((await metric(daemon, "sharedrt_loop_lag_seconds")).values()) > 0


def cut_off(archive: Path, target: Path) -> Path:
    target.write_bytes(archive.read_bytes()[:100_000])
    return target


async def test_import_pulls_and_their_refusals(
    daemon: DaemonUnderTest, busybox_archive: Path, tmp_path: Path
) -> None:
    await daemon.cli("-n", "team", "images", "import", str(busybox_archive))
    [image] = json.loads((await daemon.cli("-n", "team", "images", "--json")).stdout)
    assert image["references"] == [IMAGE]
    broken = cut_off(busybox_archive, tmp_path / "broken.tar")
    refused = await daemon.cli("-n", "team", "images", "import", str(broken), check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("sharedrt: ")
    assert refused.stderr.count("\n") == 1
    nowhere = await daemon.cli("-n", "team", "images", "pull", "127.0.0.1:1/x:1", check=False)
    assert nowhere.returncode == 1
    assert "127.0.0.1:1" in nowhere.stderr
    await daemon.cli("-n", "team", "images", "rm", IMAGE)
    assert json.loads((await daemon.cli("-n", "team", "content", "--json")).stdout) == []
    await daemon.cli("namespaces", "rm", "team")


async def test_events_with_those_of_before(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    status, created = await docker.post("/containers/create", json={"Image": "busybox"})
    assert status == 201
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sharedrt.cli", "events", "-n", "moby", "--since", "1h", "--json"),
        env=daemon.environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None

    async def until(action: str) -> None:
        async with asyncio.timeout(60):
            while True:
                assert process.stdout is not None
                event = json.loads(await process.stdout.readline())
                if (event["action"], event["actor"]) == (action, created["Id"]):
                    return

    await until("create")
    await docker.delete(f"/containers/{created['Id']}")
    await until("destroy")
    process.terminate()
    await process.communicate()
