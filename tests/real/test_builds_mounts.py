"""``RUN --mount`` of every type, here-documents that run, and other tools' opinion of what was built."""

import asyncio
import base64
import json
import re
from pathlib import Path

import pytest

from tests.real.building import build, output, post_build, tar, write
from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest, running_daemon
from tests.real.registry import PASSWORD, USER, running_registry

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_bind_and_tmpfs_mounts_leave_no_trace(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    text = """FROM busybox AS tools
RUN mkdir -p /kit/sub && echo tool >/kit/sub/t
FROM busybox
RUN --mount=target=/ctx cat /ctx/f && ! touch /ctx/new 2>/dev/null
RUN --mount=type=bind,source=f,target=/one/file,rw cat /one/file && echo changed >/one/file
RUN --mount=type=bind,from=tools,source=/kit,target=/tools/here cat /tools/here/sub/t
RUN --mount=type=bind,from=busybox,target=/other,rw touch /other/new && ls /other/bin/busybox
RUN --mount=type=tmpfs,target=/scratch/deep,size=1m grep ' /scratch/deep tmpfs .*size=1024k' /proc/mounts
RUN --mount=type=bind,target=/x,source=f cat /x && echo kept >/kept
"""
    await build(daemon, tmp_path, text, "-t", "mounts", files={"f": "context\n"})
    assert (tmp_path / "f").read_text() == "context\n"
    shown = await output(daemon, "mounts", "ls", "/")
    assert not {"ctx", "one", "tools", "other", "scratch", "x"} & set(shown.split())
    assert "kept" in shown.split()
    changed = await build(daemon, tmp_path, text, files={"f": "other\n"})
    assert changed.stdout.count("Using cache") == 1, "what a bind shows is part of the step"
    for mount, words in (
        ("type=bind,source=nothere,target=/x", "no such file or directory"),
        ("type=nosuch,target=/x", "unsupported mount type"),
        ("type=tmpfs", "needs a target"),
        ("type=bind,target=/x,colour=red", "unexpected key 'colour'"),
    ):
        text = f"FROM busybox\nRUN --mount={mount} true\n"
        done = await build(daemon, tmp_path, text, check=False)
        assert words in done.stderr, done.stderr
    (tmp_path / "out").symlink_to(tmp_path / "f")
    for options in ("source=out,target=/c", "source=out,target=/c,rw"):
        text = f"FROM busybox\nRUN --mount={options} cat /c\n"
        done = await build(daemon, tmp_path, text, check=False)
        assert "no such file or directory" in done.stderr, "a link out of the context leads nowhere"


async def test_cache_mounts_are_kept_shared_and_pruned(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    def text(command: str, options: str = "") -> str:
        return f"FROM busybox\nRUN --mount=type=cache,target=/cache{options} {command}\n"

    await build(daemon, tmp_path, text("echo kept >/cache/f"))
    shown = await build(daemon, tmp_path, text("cat /cache/f; ls -d /cache"), "-t", "cached")
    assert "kept\n" in shown.stdout
    assert "cache" not in (await output(daemon, "cached", "ls", "/")).split()
    other = await build(daemon, tmp_path, text("ls /cache | wc -l", ",id=other,uid=5,mode=0700"))
    assert "\n0\n" in other.stdout
    owner = await build(daemon, tmp_path, text("stat -c %u:%g:%a /cache", ",id=other"))
    assert "5:0:700" in owner.stdout
    filled = await build(
        daemon, tmp_path, text("cat /cache/passwd", ",id=filled,from=busybox,source=/etc")
    )
    assert "root:" in filled.stdout
    # Two at once: the second waits for the first, or gets a folder of its own.
    wait = "mkdir /cache/taken && sleep 1 && rmdir /cache/taken #"
    for sharing in ("locked", "private"):
        jobs = []
        for number in range(2):
            folder = write(tmp_path / f"{sharing}{number}", {})
            options = f",id={sharing},sharing={sharing}"
            jobs.append(build(daemon, folder, text(f"{wait} {number}", options)))
        await asyncio.gather(*jobs)
    # Two that lock the same ones in another order: neither waits for the other for ever.
    pair = [f"--mount=type=cache,id={n},target=/{n},sharing=locked" for n in ("one", "two")]
    crossed = []
    for number in range(4):
        first, second = pair if number % 2 else pair[::-1]
        folder = write(tmp_path / f"crossed{number}", {})
        crossed.append(
            build(daemon, folder, f"FROM busybox\nRUN {first} {second} sleep 0.{number}\n")
        )
    await asyncio.gather(*crossed)
    _, usage = await docker.get("/system/df")
    mounts = [e for e in usage["BuildCache"] if e["Type"] == "exec.cachemount"]
    assert {e["Description"] for e in mounts} >= {"cache mount /cache", "cache mount other"}
    assert sum(e["Description"] == "cache mount private" for e in mounts) == 2
    status, pruned = await docker.post("/build/prune", filters='{"type":["exec.cachemount"]}')
    assert status == 200
    assert set(pruned["CachesDeleted"]) == {e["ID"] for e in mounts}
    assert pruned["SpaceReclaimed"] > 0
    assert not list((daemon.root / "state" / "build-caches").glob("moby/*"))


async def test_secrets_and_agents(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    """Clients of the classic builder cannot send any: they come in a header of ours."""
    text = """FROM busybox
RUN --mount=type=secret,id=token stat -c %a:%u /run/secrets/token; cat /run/secrets/token >/dev/null
RUN --mount=type=secret,id=token,target=/my/token,mode=0444,uid=7 stat -c %a:%u /my/token
RUN --mount=type=secret,id=token,env=TOKEN test ${#TOKEN} = 12 && echo env works
RUN --mount=type=secret,id=none ls /run/secrets/none 2>/dev/null || echo none is fine
RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo agent is there
"""
    socket = tmp_path / "agent.sock"
    server = await asyncio.start_unix_server(lambda r, w: None, str(socket))
    offered = {
        "secrets": {"token": base64.b64encode(b"hidden-value").decode()},
        "ssh": {"default": str(socket)},
    }
    header = base64.urlsafe_b64encode(json.dumps(offered).encode()).decode()
    status, said = await post_build(
        daemon,
        tar({"Dockerfile": text}),
        headers={"X-Sharedrt-Build-Secrets": header},
        t="secrets",
    )
    server.close()
    assert "Successfully built" in said, said
    for line in ("400:0", "444:7", "env works", "none is fine", "agent is there"):
        assert line in said
    assert status == 200
    assert not {"run", "my"} & set((await output(daemon, "secrets", "ls", "/")).split())
    history = (await daemon.docker("history", "--no-trunc", "secrets")).stdout
    assert "hidden-value" not in history
    for form in (b"hidden-value", base64.b64encode(b"hidden-value"), header.encode()):
        await _nothing_holds(daemon.root, form)
    file = tmp_path / "file"
    file.write_text("no socket")
    for path, words in (
        (str(file), "no socket of an SSH agent"),
        ("agent.sock", "no absolute path"),
    ):
        offered = {"ssh": {"default": path}}
        header = base64.urlsafe_b64encode(json.dumps(offered).encode()).decode()
        _, said = await post_build(
            daemon,
            tar({"Dockerfile": "FROM busybox\nRUN --mount=type=ssh true\n"}),
            headers={"X-Sharedrt-Build-Secrets": header},
        )
        assert words in said
    big = {"X-Sharedrt-Build-Secrets": "A" * (1 << 20)}
    assert (await post_build(daemon, tar({"Dockerfile": text}), headers=big))[0] == 400
    required = "FROM busybox\nRUN --mount=type=secret,id=absent,required=true true\n"
    done = await build(daemon, tmp_path, required, check=False)
    assert "secret absent: not found" in done.stderr
    agent = "FROM busybox\nRUN --mount=type=ssh,required true\n"
    done = await build(daemon, tmp_path, agent, check=False)
    assert "no SSH key 'default' forwarded" in done.stderr


async def test_what_the_policy_allows(busybox_archive: Path) -> None:
    """Otherwise than by default: privileged commands, and no socket of this host."""
    settings = {"builds": {"insecure_runs": True, "agent_sockets": False}}
    text = "FROM busybox\nRUN --security=%s grep CapEff /proc/self/status; grep Seccomp: /proc/self/status\n"
    async with running_daemon(settings) as daemon:
        await daemon.cli("-n", "moby", "images", "import", str(busybox_archive))
        found = {}
        for security in ("insecure", "sandbox"):
            status, said = await post_build(daemon, tar({"Dockerfile": text % security}))
            assert status == 200
            assert "Successfully built" in said
            found[security] = re.findall(r"(CapEff|Seccomp):\\t(\w+)", said)
        assert found["insecure"][0][1] > found["sandbox"][0][1] == "00000000a80425fb"
        assert [found["insecure"][1][1], found["sandbox"][1][1]] == ["0", "2"]
        header = base64.urlsafe_b64encode(b'{"ssh": {"default": "/run/agent.sock"}}').decode()
        status, said = await post_build(
            daemon,
            tar({"Dockerfile": "FROM busybox\n"}),
            headers={"X-Sharedrt-Build-Secrets": header},
        )
        assert status == 403
        assert "policy of this daemon" in said


async def _nothing_holds(root: Path, secret: bytes) -> None:
    def look() -> list[Path]:
        tops = ("state", "run", "daemon.log")
        paths = (p for top in tops for p in (root / top, *(root / top).rglob("*")))
        files = [path for path in paths if path.is_file()]
        assert root / "daemon.log" in files
        return [path for path in files if secret in path.read_bytes()]

    assert await asyncio.to_thread(look) == []


async def test_here_documents(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    text = r"""FROM busybox
ARG WHO=world
RUN <<EOF
echo "hello $WHO"
echo 'second   line' >/second
EOF
RUN <<"SCRIPT"
#!/bin/cat
by cat
SCRIPT
RUN cat <<-A >/a && cat <<B >>/a
	tabs go $WHO
	A
plain $((1 + 1))
B
RUN cat /second /a; ls /dev/pipes 2>/dev/null | wc -l
"""
    done = await build(daemon, tmp_path, text, "-t", "heredocs")
    for line in ("hello world", "by cat", "second   line", "tabs go world", "plain 2", "0"):
        assert f"\n{line}\n" in done.stdout, line


async def test_other_tools_take_what_was_built(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    """Through a registry that wants to know who asks, from which the next build then takes its base image."""
    text = "FROM busybox\nRUN echo a >/a\nCOPY Dockerfile /\nENV A=1\nRUN rm /a\n"
    async with running_registry(tmp_path / "registry", basic_auth=True) as registry:
        name = f"{registry.authority}/built/app:1"
        await build(daemon, tmp_path / "ctx", text, "-t", name)
        login = ("login", "-u", USER, "--password-stdin", registry.authority)
        await daemon.docker(*login, stdin=PASSWORD.encode())
        await daemon.docker("push", name)
        layout = tmp_path / "layout"
        await daemon.run(
            *(
                "skopeo",
                "copy",
                "-q",
                "--src-tls-verify=false",
                "--src-creds",
                f"{USER}:{PASSWORD}",
            ),
            *(f"docker://{name}", f"oci:{layout}:1"),
        )
        unpacked = tmp_path / "b"
        await daemon.run("umoci", "unpack", "--rootless", "--image", f"{layout}:1", str(unpacked))
        assert (unpacked / "rootfs" / "Dockerfile").read_text() == text
        assert not (unpacked / "rootfs" / "a").exists()
        described = await daemon.run("umoci", "stat", "--image", f"{layout}:1", "--json")
        history = json.loads(described.stdout)["history"]
        kept = [not entry.get("empty_layer") for entry in history]
        assert kept[-4:] == [True, True, False, True]

        await daemon.docker("rmi", "-f", name)
        onward = await build(daemon, tmp_path / "two", f"FROM {name}\nRUN cat /Dockerfile\n")
        assert "Status: Downloaded newer image" in onward.stdout
        assert "RUN echo a >/a" in onward.stdout
        again = f"FROM {name}\nRUN true\n"
        fresh = await build(daemon, tmp_path / "two", again, "--pull", "--no-cache")
        assert "Status: Image is up to date" in fresh.stdout
        await daemon.docker("logout", registry.authority)
        await daemon.docker("rmi", "-f", name)
        denied = await build(daemon, tmp_path / "two", f"FROM {name}\n", check=False)
        assert "pull access denied" in denied.stderr
