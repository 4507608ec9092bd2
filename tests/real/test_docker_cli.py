"""The real docker CLI against a real daemon: what an everyday user does."""

import asyncio
import json
import re
import socket
from pathlib import Path

import pytest

from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def lines(daemon: DaemonUnderTest, *arguments: str) -> list[str]:
    return (await daemon.docker(*arguments)).stdout.split()


async def inspected(daemon: DaemonUnderTest, name: str, template: str) -> str:
    return (await daemon.docker("inspect", "-f", template, name)).stdout.strip()


async def in_terminal(
    daemon: DaemonUnderTest, command: str, *typed: tuple[str, str]
) -> tuple[int, str]:
    """Run ``command`` under a terminal of its own and type: (what has to be on the screen before, keys)."""
    process = await asyncio.create_subprocess_exec(
        *("script", "-qec", f"stty rows 33 cols 99; {command}", "/dev/null"),
        env=daemon.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    screen = b""
    async with asyncio.timeout(30):
        for seen, keys in typed:
            while seen.encode() not in screen:
                shown = await process.stdout.read(4096)
                assert shown, f"{seen!r} is not in {screen!r}"
                screen += shown
            process.stdin.write(keys.encode())
            await process.stdin.drain()
        screen += await process.stdout.read()
    return await process.wait(), screen.decode(errors="replace")


async def test_run_keeps_streams_apart_and_passes_exit_codes(daemon: DaemonUnderTest) -> None:
    script = "echo out; echo err >&2; exit 7"
    done = await daemon.docker("run", "--rm", "busybox", "sh", "-c", script, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    assert await lines(daemon, "ps", "-aq") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("busybox", "no-such-command"), 127, "not found"),
        (("busybox", "/etc/passwd"), 126, "permission denied"),
        (("no-such-image-anywhere",), 125, "no-such-image-anywhere"),
        (("--network", "nosuchnet", "busybox", "true"), 125, "nosuchnet"),
        (("--mount", "type=bind,src=/no/such,dst=/b", "busybox", "true"), 125, "does not exist"),
        (("--runtime", "nosuch", "busybox", "true"), 125, "unknown or invalid runtime name"),
        (("--health-cmd", "true", "--health-retries", "-1", "busybox", "true"), 125, "retries"),
        (("-v", "a:b", "busybox", "true"), 125, "mount path must be absolute"),
    ],
)
async def test_refusals_leave_nothing_behind(
    daemon: DaemonUnderTest, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = await daemon.docker("run", "--rm", *arguments, check=False)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    for _ in range(50):
        if await lines(daemon, "ps", "-aq") == []:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("a container was left behind")


async def test_stdin_through_a_container_is_whole(daemon: DaemonUnderTest) -> None:
    data = "0123456789abcdef" * 65_536
    done = await daemon.docker("run", "-i", "--rm", "busybox", "cat", stdin=data.encode())
    assert done.stdout == data


async def test_a_terminal_of_the_right_size(daemon: DaemonUnderTest) -> None:
    code, output = await in_terminal(
        daemon,
        "docker run -it --rm busybox sh",
        ("# ", "until [ \"$(stty size)\" = '33 99' ]; do sleep 0.1; done; echo x$((40+2))x\n"),
        ("x42x", "stty size; exit 5\n"),
    )
    assert code == 5
    assert "33 99" in output
    assert "x42x" in output


async def test_detached_with_a_published_port(daemon: DaemonUnderTest) -> None:
    script = "mkdir /w; echo published >/w/index.html; exec httpd -f -p 80 -h /w"
    run = ("run", "--rm", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox")
    (id,) = await lines(daemon, *run, "sh", "-c", script)
    assert re.fullmatch("[0-9a-f]{64}", id)
    (published,) = await lines(daemon, "port", "web", "80/tcp")
    port = int(published.rpartition(":")[2])
    assert f"127.0.0.1:{port}->80/tcp" in (await daemon.docker("ps")).stdout
    for _ in range(50):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0.1)
    else:
        raise AssertionError("the port is not open")
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"published\n")
    writer.close()
    taken = await daemon.docker(
        "run", "--rm", "-p", f"127.0.0.1:{port}:80", "busybox", "true", check=False
    )
    assert taken.returncode == 125
    assert "already" in taken.stderr
    await daemon.docker("stop", "-t", "0", "web")
    for _ in range(50):
        if await lines(daemon, "ps", "-aq") == []:
            break
        await asyncio.sleep(0.1)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_exec(daemon: DaemonUnderTest) -> None:
    await daemon.docker("run", "-d", "--name", "box", "-e", "BASE=1", "busybox", "sleep", "300")
    done = await daemon.docker(
        "exec", "-i", "-e", "ADD=two", "-w", "/tmp", "box", "sh", "-c",
        "echo $BASE $ADD $(pwd) $(cat); exit 11", stdin=b"typed", check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("1 two /tmp typed\n", 11)
    missing = await daemon.docker("exec", "box", "no-such-command", check=False)
    assert missing.returncode == 127
    assert "not found" in missing.stdout + missing.stderr
    code, output = await in_terminal(
        daemon, "docker exec -it box sh", ("# ", "echo y$((6*7))y\n"), ("y42y", "exit 3\n")
    )
    assert code == 3
    assert "y42y" in output
    await daemon.docker("rm", "-f", "box")


async def test_attach_and_detach_keys(daemon: DaemonUnderTest) -> None:
    await daemon.docker("run", "-dit", "--name", "shell", "busybox", "sh")
    _, output = await in_terminal(
        daemon, "docker attach shell", ("", "echo k$((1+1))k\r"), ("k2k", "\x10\x11")
    )
    assert "k2k" in output
    assert await inspected(daemon, "shell", "{{.State.Status}}") == "running"
    await daemon.docker("rm", "-f", "shell")


async def test_logs_follow_to_the_end(daemon: DaemonUnderTest) -> None:
    script = "for i in 1 2 3; do echo n$i; sleep 0.5; done; echo last >&2"
    await daemon.docker("run", "-d", "--name", "talk", "busybox", "sh", "-c", script)
    followed = await daemon.docker("logs", "-f", "talk", timeout_s=20)
    assert (followed.stdout, followed.stderr) == ("n1\nn2\nn3\n", "last\n")
    stamped = (await daemon.docker("logs", "-t", "--tail", "2", "talk")).stdout
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\.\d{9}Z n3\n", stamped)
    at = stamped.split()[0]
    assert (await daemon.docker("logs", "--since", at, "talk")).stdout == "n3\n"
    await daemon.docker("rm", "talk")


async def test_ps_and_inspect(daemon: DaemonUnderTest) -> None:
    (id,) = await lines(daemon, "create", "--name", "one", "--label", "a=b", "busybox", "true")
    assert await lines(daemon, "ps", "-q") == []
    assert await lines(daemon, "ps", "-aq", "-f", "label=a=b") == [id[:12]]
    (found,) = json.loads((await daemon.docker("inspect", id[:6])).stdout)
    assert found["Name"] == "/one"
    assert found["Image"].startswith("sha256:")
    assert found["Config"]["Labels"] == {"a": "b"}
    missing = await daemon.docker("inspect", "nope", check=False)
    assert missing.returncode == 1
    assert "nope" in missing.stderr
    await daemon.docker("rename", "one", "other")
    again = await daemon.docker("create", "--name", "other", "busybox", check=False)
    assert "is already in use by container" in again.stderr
    await daemon.docker("rm", "other")


async def test_a_container_outlives_the_daemon(daemon: DaemonUnderTest) -> None:
    script = "sleep 2; echo done; exit 9"
    await daemon.docker("run", "-d", "--name", "stays", "busybox", "sh", "-c", script)
    await daemon.kill9()
    await daemon.start()
    assert await lines(daemon, "wait", "stays") == ["9"]
    assert (await daemon.docker("logs", "stays")).stdout == "done\n"
    await daemon.docker("rm", "stays")


async def test_images(daemon: DaemonUnderTest, tmp_path: Path, busybox_archive: Path) -> None:
    assert await lines(daemon, "images", "--format", "{{.Repository}}:{{.Tag}}") == [
        "busybox:latest"
    ]
    id = await inspected(daemon, "busybox", "{{.Id}}")
    await daemon.docker("tag", "busybox", "mine/box:v1")
    assert await inspected(daemon, "mine/box:v1", "{{.Id}}") == id
    saved = tmp_path / "saved.tar"
    await daemon.docker("save", "-o", str(saved), "mine/box:v1")
    assert "Untagged: mine/box:v1" in (await daemon.docker("rmi", "mine/box:v1")).stdout
    loaded = await daemon.docker("load", "-i", str(saved))
    assert "Loaded image: mine/box:v1" in loaded.stdout
    assert await inspected(daemon, "mine/box:v1", "{{.Id}}") == id
    await daemon.docker("rmi", "mine/box:v1")
    garbage = await daemon.docker("load", stdin=b"garbage", check=False)
    assert garbage.returncode == 1
    await daemon.docker("create", "--name", "user", "busybox")
    refused = await daemon.docker("rmi", "busybox", check=False)
    assert "is using its referenced image" in refused.stderr
    await daemon.docker("rm", "user")
    assert "IMAGE" in (await daemon.docker("history", "busybox")).stdout


async def test_events_are_told_live_and_later(daemon: DaemonUnderTest) -> None:
    before = (await daemon.docker("info", "-f", "{{.SystemTime}}")).stdout.strip()
    await daemon.docker(
        "run", "--rm", "--name", "seen", "busybox", "sh", "-c", "exit 2", check=False
    )
    await asyncio.sleep(0.5)
    after = (await daemon.docker("info", "-f", "{{.SystemTime}}")).stdout.strip()
    told = await daemon.docker(
        "events", "--since", before, "--until", after, "-f", "container=seen",
        "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}",
    )  # fmt: skip
    actions = [line.split()[0] for line in told.stdout.splitlines()]
    assert actions == ["create", "attach", "start", "die", "destroy"]
    assert "die 2" in told.stdout
