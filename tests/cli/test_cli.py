"""What users type, see, and get as exit codes."""

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from sharedrt.cli.output import age, print_table, short, size
from sharedrt.model.faults import NotFound
from sharedrt.model.findings import Finding, Level
from sharedrt.model.ids import ContainerId, Digest, Namespace, SandboxId
from sharedrt.model.records import (
    BlobRecord,
    ContainerRecord,
    ContainerState,
    EventRecord,
    SandboxRecord,
    SandboxSpec,
    SandboxState,
)
from sharedrt.model.spec import ContainerSpec
from sharedrt.services.images.image import PullPhase, PullProgress
from tests.cli.conftest import Cli
from tests.edges.containerd.fakes import FakeRuntime

K8S, MOBY = Namespace("k8s.io"), Namespace("moby")
ID = "abc123" + "0" * 58


@pytest.fixture
def filled(daemon: FakeRuntime) -> FakeRuntime:
    daemon.within(MOBY).containers.add(
        ContainerRecord(
            id=ContainerId(ID),
            name="web[1]",
            image_reference="busybox",
            image_id=Digest("sha256:1"),
            spec=ContainerSpec(),
            state=ContainerState.EXITED,
            exit_code=3,
            created_ns=time.time_ns() - 7200 * 10**9,
        )
    )
    daemon.within(K8S).pods.records["p"] = SandboxRecord(
        SandboxId("p" * 64),
        "pod",
        "uid",
        "default",
        0,
        SandboxSpec(),
        state=SandboxState.READY,
        addresses=("10.0.0.2",),
    )
    digest = Digest("sha256:" + "9" * 64)
    daemon.within(MOBY).content.records[digest] = BlobRecord(digest, 2_000_000)
    return daemon


async def test_tables(cli: Cli, filled: FakeRuntime) -> None:
    out = (await cli("containers")).out.splitlines()
    assert out[0].split() == [
        *("NAMESPACE", "CONTAINER", "NAME", "IMAGE", "STATE", "PID", "AGE", "POD")
    ]
    assert out[1].split() == ["moby", "abc123000000", "web[1]", "busybox", "exited", "(3)", "2h"]
    assert "10.0.0.2" in (await cli("pods")).out
    assert "1.9 MiB" in (await cli("content")).out
    listed = (await cli("namespaces")).out.splitlines()
    assert [row.split() for row in listed[1:]] == [
        ["k8s.io", "0", "1", "0"],
        ["moby", "1", "0", "0"],
    ]


async def test_one_namespace_before_or_after_the_command(cli: Cli, filled: FakeRuntime) -> None:
    for arguments in (["-n", "k8s.io", "containers"], ["containers", "-n", "k8s.io"]):
        assert ID[:12] not in (await cli(*arguments)).out
    assert ID[:12] in (await cli("-n", "k8s.io", "containers", "-n", "moby")).out


async def test_json(cli: Cli, filled: FakeRuntime) -> None:
    for arguments in (["--json", "containers"], ["containers", "--json"]):
        [found] = json.loads((await cli(*arguments)).out)
        assert (found["namespace"], found["id"], found["exit_code"]) == ("moby", ID, 3)
    assert json.loads((await cli("--json", "pods", "-n", "moby")).out) == []


async def test_namespaces(cli: Cli, daemon: FakeRuntime) -> None:
    await cli("namespaces", "create", "team", "a=b")
    assert daemon.all_namespaces.records["team"].labels == {"a": "b"}
    again = await cli("namespaces", "create", "team", code=1)
    assert again.err == "sharedrt: namespace 'team' already exists\n"
    await cli("namespaces", "rm", "team")
    assert (await cli("namespaces", "create", "x", "a", code=2)).err.count("\n") == 1


async def test_no_daemon(cli: Cli) -> None:
    done = await cli("containers", code=3)
    assert done.err == (
        f"sharedrt: cannot reach the daemon at {cli.socket}: is sharedrtd running?\n"
    )
    version = await cli("version")
    assert "is sharedrtd running?" in version.out


async def test_something_else_at_the_socket(cli: Cli) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    async with await asyncio.start_unix_server(answer, str(cli.socket)):
        assert "is this its admin socket?" in (await cli("containers", code=1)).err

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    cli.socket.unlink(missing_ok=True)
    async with await asyncio.start_unix_server(hang_up, str(cli.socket)):
        assert "lost the daemon" in (await cli("containers", code=3)).err


async def test_check_asks_the_daemon(cli: Cli, daemon: FakeRuntime) -> None:
    out = (await cli("check")).out
    assert "6.1" in out
    assert f"answers at {cli.socket}" in out
    cli.findings.append(Finding("conmon", Level.ERROR, "not found", "apt-get install conmon"))
    failed = await cli("check", code=1)
    assert "apt-get install conmon" in failed.out
    [*_, last] = json.loads((await cli("check", "--json", code=1)).out)
    assert last["subject"] == "daemon"


async def test_check_without_a_daemon_looks_itself(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f"[daemon]\nstate_dir = '{tmp_path}'\n[runtime]\nconmon = '/nowhere/conmon'\n"
    )
    found = json.loads((await cli("--config", str(config), "check", "--json", code=1)).out)
    subjects = {f["subject"]: f for f in found}
    assert subjects["daemon"]["level"] == "warning"
    assert subjects["conmon"]["cure"] == "apt-get install conmon"
    config.write_text("[daemon]\nstate_dirr = '/x'\n")
    bad = await cli("--config", str(config), "check", code=1)
    assert "state_dirr" in bad.err
    assert ":2)" in bad.err, "the line is named"


async def test_pull(cli: Cli, daemon: FakeRuntime) -> None:
    images = daemon.within(MOBY).images
    images.steps = [PullProgress("sha256:a", PullPhase.DOWNLOADING, 5, 10)]
    assert (await cli("images", "pull", "x:1", code=2)).err.startswith("sharedrt: name a namespace")
    done = await cli("-n", "moby", "images", "pull", "--platform", "linux/arm64", "x:1")
    assert done.out.startswith("x:1  sha256:")
    assert images.pulled == [("x:1", "linux/arm64")]
    lines = (await cli("-n", "moby", "--json", "images", "pull", "x:2")).out.splitlines()
    assert json.loads(lines[0])["progress"]["current"] == 5
    assert json.loads(lines[-1])["images"][0]["references"] == ["x:1", "x:2"]
    images.failure = NotFound("image", "x:3")
    failed = await cli("-n", "moby", "images", "pull", "x:3", code=1)
    assert failed.err == "sharedrt: image 'x:3' not found\n"
    assert failed.out == ""


async def test_import_from_a_file_or_standard_input(
    cli: Cli, daemon: FakeRuntime, tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"x" * 300_000)
    done = await cli("-n", "moby", "images", "import", str(archive))
    assert "docker.io/library/loaded:latest" in done.out
    await cli("images", "import", "-", "-n", "k8s.io", stdin=b"piped")
    assert daemon.within(MOBY).images.archives == [archive.read_bytes()]
    assert daemon.within(K8S).images.archives == [b"piped"]
    missing = await cli("-n", "moby", "images", "import", "/nowhere/x.tar", code=1)
    assert missing.err == "sharedrt: cannot read /nowhere/x.tar: No such file or directory\n"


async def test_an_import_refused_before_it_was_read(
    cli: Cli, daemon: FakeRuntime, tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"x" * (32 << 20))
    daemon.within(MOBY).images.failure = NotFound("platform", "linux/amd64")
    failed = await cli("-n", "moby", "images", "import", str(archive), code=1)
    assert failed.err == "sharedrt: platform 'linux/amd64' not found\n"


async def test_list_and_remove_images(cli: Cli, daemon: FakeRuntime) -> None:
    await cli("-n", "moby", "images", "pull", "x:1")
    assert "x:1" in (await cli("images")).out
    assert "x:1" in (await cli("images", "ls", "-n", "moby")).out
    assert "x:1" not in (await cli("-n", "k8s.io", "images", "ls")).out
    removed = (await cli("images", "rm", "-n", "moby", "x:1")).out.splitlines()
    assert removed[0] == "untagged x:1"
    assert removed[1].startswith("deleted sha256:")
    assert "not found" in (await cli("images", "rm", "-n", "moby", "x:1", code=1)).err


async def test_events_until_interrupted(cli: Cli, daemon: FakeRuntime) -> None:
    process = await cli.start("events")
    for _ in range(3000):
        if daemon.all_namespaces.queues:
            break
        await asyncio.sleep(0.01)
    event = EventRecord(1, 10**18, "container", "die", ID, {"name": "web", "exitCode": "3"})
    daemon.all_namespaces.tell("moby", event)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().split("  ")
    assert line[1:] == ["moby", "container", "die", ID[:12], "web", "exitCode=3\n"]
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_stored_events(cli: Cli, daemon: FakeRuntime) -> None:
    assert "namespace" in (await cli("events", "--since", "1h", code=2)).err
    assert "no span" in (await cli("-n", "moby", "events", "--since", "soon", code=2)).err
    events = daemon.within(MOBY).events
    events.stored.append(EventRecord(1, 10**18, "image", "pull", "busybox"))
    process = await cli.start("events", "-n", "moby", "--since", "2h", "--json")
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["actor"] == "busybox"
    process.terminate()
    await process.communicate()
    assert abs(time.time_ns() - events.since[0] - 7200 * 10**9) < 60 * 10**9


async def test_stop_all(cli: Cli, filled: FakeRuntime) -> None:
    assert "stopped" in (await cli("stop-all")).out
    assert filled.within(K8S).pods.stopped == ["p" * 64]
    assert (await cli("stop-all", "-n", "moby")).out == ""


async def test_usage_errors(cli: Cli) -> None:
    assert "No such command" in (await cli("nonsense", code=2)).err
    assert "Usage" in (await cli("--help")).out


def test_formats(capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time_ns()
    spans = (0, 59, 60, 3600, 86400 * 3)
    assert [age(now - s * 10**9) for s in spans] == ["0s", "59s", "1m", "1h", "3d"]
    assert age(0) == ""
    assert [size(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
    ]
    assert short("sha256:" + "a" * 64) == "a" * 12
    print_table(("A", "LONG"), [("xxx", "")])
    assert capsys.readouterr().out == "A    LONG\nxxx\n"
