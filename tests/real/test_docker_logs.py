"""Log options and drivers by the docker CLI: files, sizes, tags, and what goes to syslog."""

import asyncio
import gzip
import socket
import ssl
from pathlib import Path

import pytest

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.registry import make_certificates

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def log_path(daemon: DaemonUnderTest, name: str) -> Path:
    return Path((await daemon.docker("inspect", "-f", "{{.LogPath}}", name)).stdout.strip())


async def numbers(daemon: DaemonUnderTest, name: str, *options: str) -> list[int]:
    return [int(n) for n in (await daemon.docker("logs", *options, name)).stdout.split()]


async def test_a_log_of_several_files(daemon: DaemonUnderTest) -> None:
    options = ("--log-opt", "max-size=10k", "--log-opt", "max-file=4", "--log-opt", "compress=true")
    script = "i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo $i; [ $((i%150)) = 0 ] && sleep 0.4; done; sleep 60"
    await daemon.docker("run", "-d", "--name", "many", *options, "busybox", "sh", "-c", script)
    follower = await asyncio.create_subprocess_exec(
        *("docker", "logs", "-f", "many"), env=daemon.environment, stdout=asyncio.subprocess.PIPE
    )
    assert follower.stdout is not None
    followed = []
    async with asyncio.timeout(40):
        while (line := await follower.stdout.readline()) and line != b"1500\n":
            followed.append(int(line))
    assert followed == list(range(1, 1500)), "a follower misses nothing and sees nothing twice"
    path = await log_path(daemon, "many")
    await asyncio.sleep(1)
    names = sorted(p.name.removeprefix(path.name) for p in path.parent.glob("container.log*"))
    assert names == ["", ".1.gz", ".2.gz", ".3.gz"]
    assert gzip.decompress((path.parent / f"{path.name}.1.gz").read_bytes()).count(b"\n") > 100
    kept = await numbers(daemon, "many")
    assert kept == list(range(kept[0], 1501))
    assert kept[0] > 1
    assert await numbers(daemon, "many", "--tail", "300") == kept[-300:]
    follower.kill()
    await follower.wait()
    await daemon.docker("rm", "-f", "many")
    assert not path.parent.exists()


async def test_one_file_is_begun_anew(daemon: DaemonUnderTest) -> None:
    run = ("run", "--name", "one", "--log-opt", "max-size=10k", "busybox", "seq", "1", "2000")
    await daemon.docker(*run)
    kept = await numbers(daemon, "one")
    assert kept[-1] == 2000
    assert len(kept) < 1000
    await daemon.docker("rm", "one")


async def test_details_are_what_the_options_chose(daemon: DaemonUnderTest) -> None:
    options = ("--log-opt", "labels=a", "--log-opt", "env-regex=^B", "--log-opt", "tag={{.Name}}/x")
    await daemon.docker(
        *("run", "--name", "told", *options, "--label", "a=1 2", "-e", "BAR=x", "busybox"),
        *("echo", "hi"),
    )
    done = await daemon.docker("logs", "--details", "told")
    assert done.stdout == "BAR=x,a=1+2,tag=told%2Fx hi\n"
    await daemon.docker("rm", "told")


async def test_no_log_and_names_for_ours(daemon: DaemonUnderTest) -> None:
    await daemon.docker("run", "--name", "no", "--log-driver", "none", "busybox", "echo", "hi")
    done = await daemon.docker("logs", "no", check=False)
    assert "does not support reading" in done.stderr
    await daemon.docker("run", "--name", "ours", "--log-driver", "local", "busybox", "echo", "hi")
    assert (await daemon.docker("logs", "ours")).stdout == "hi\n"
    await daemon.docker("rm", "no", "ours")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"Type": "gelf"}, "gelf is not supported"),
        ({"Type": "json-file", "Config": {"odd": "1"}}, "unknown log opt 'odd'"),
        ({"Config": {"tag": "{{.Odd}}"}}, "{{.Odd}}"),
        ({"Config": {"max-file": "0"}}, "max-file cannot be less than 1"),
        ({"Config": {"compress": "true"}}, "compress cannot be true"),
        ({"Type": "syslog", "Config": {"syslog-format": "odd"}}, "Invalid syslog format"),
        ({"Config": {"labels-regex": "["}}, "error parsing regexp"),
    ],
)
async def test_refused_by_name(
    docker: DockerClient, options: dict[str, object], words: str
) -> None:
    body = {"Image": "busybox", "HostConfig": {"LogConfig": options}}
    status, answer = await docker.post("/containers/create", json=body)
    assert status in (400, 501)
    assert words in answer["message"]


async def test_a_host_without_syslog_or_journal_refuses_the_start(
    daemon: DaemonUnderTest,
) -> None:
    # A port where nobody listens stands in for it: some hosts have both.
    address = "syslog-address=tcp://127.0.0.1:1"
    run = ("run", "--rm", "--log-driver", "syslog", "--log-opt", address, "busybox", "true")
    done = await daemon.docker(*run, check=False)
    assert done.returncode == 125
    assert "failed to initialize logging driver" in done.stderr


async def test_lines_go_to_syslog_also_those_of_the_time_without_a_daemon(
    daemon: DaemonUnderTest,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        loop = asyncio.get_running_loop()
        address = f"syslog-address=udp://127.0.0.1:{receiver.getsockname()[1]}"
        script = "echo one; echo two >&2; sleep 3; echo three"
        await daemon.docker(
            *("run", "-d", "--name", "sent", "--log-driver", "syslog", "--log-opt", address),
            *("--log-opt", "tag={{.Name}}", "--log-opt", "syslog-format=rfc3164"),
            *("busybox", "sh", "-c", script),
        )
        async with asyncio.timeout(10):
            first = [await loop.sock_recv(receiver, 4096) for _ in range(2)]
        # conmon's two streams keep no order between them.
        assert sorted(m.rpartition(b": ")[2] for m in first) == [b"one\n", b"two\n"]
        assert sorted(m.partition(b">")[0] for m in first) == [b"<27", b"<30"]
        assert all(b" sent[" in m for m in first)
        await asyncio.sleep(1.2)
        await daemon.stop()
        await asyncio.sleep(3)
        await daemon.start()
        async with asyncio.timeout(10):
            last = await loop.sock_recv(receiver, 4096)
        assert last.endswith(b": three\n")
        done = await daemon.docker("logs", "sent")
        assert "three" in done.stdout, "it can be read here too"
        await daemon.docker("rm", "-f", "sent")


async def test_lines_go_to_syslog_over_tls(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    made = await make_certificates(tmp_path / "tls")
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            received.put_nowait(line)
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    context.load_verify_locations(made.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]

        def run(name: str, **options: object) -> list[str]:
            told = {
                "syslog-address": f"tcp+tls://localhost:{port}",
                "syslog-format": "rfc5424micro",
                "syslog-facility": "local3",
                "tag": "{{.ImageName}}/{{.Name}}",
                **{f"syslog-tls-{key.replace('_', '-')}": value for key, value in options.items()},
            }
            flags = [word for key in told for word in ("--log-opt", f"{key}={told[key]}")]
            return [
                "run",
                "--name",
                name,
                "--log-driver",
                "syslog",
                *flags,
                "busybox",
                "echo",
                "hi",
            ]

        mine = {"ca_cert": made.ca, "cert": made.certificate, "key": made.key}
        await daemon.docker(*run("secret", **mine))
        async with asyncio.timeout(10):
            message = await received.get()
        size, _, text = message.partition(b" ")
        assert int(size) == len(text)
        assert text.startswith(b"<158>1 20")
        assert b" busybox/secret " in text
        assert text.endswith(b" - hi\n")
        assert (await daemon.docker("logs", "secret")).stdout == "hi\n"
        config = await daemon.docker("inspect", "-f", "{{json .HostConfig.LogConfig}}", "secret")
        assert '"syslog-tls-cert":' in config.stdout
        # Somebody that the host does not trust is told nothing.
        done = await daemon.docker(*run("no", cert=made.certificate, key=made.key), check=False)
        assert done.returncode == 125
        assert "failed to initialize logging driver" in done.stderr
        done = await daemon.docker(*run("no2", ca_cert=tmp_path / "none"), check=False)
        assert f"could not use {tmp_path}/none" in done.stderr
        await daemon.docker("rm", "-f", "secret", "no", "no2")
