"""A container's files from outside, by the docker CLI and by hostile clients; commit and import."""

import asyncio
import base64
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.real.clients import DockerClient
from tests.real.daemon import DaemonUnderTest
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def box(daemon: DaemonUnderTest) -> AsyncIterator[str]:
    """A running container with a volume, a read-only one, and a bind mount."""
    await daemon.docker(
        *("run", "-d", "--name", "box", "-v", "boxvol:/vol", "-v", "boxro:/ro:ro"),
        *("-v", f"{daemon.root}:/host:ro", "busybox", "sleep", "600"),
    )
    yield "box"
    await daemon.docker("rm", "-f", "box")
    await daemon.docker("volume", "rm", "boxvol", "boxro")


async def inside(daemon: DaemonUnderTest, script: str) -> str:
    return (await daemon.docker("exec", "box", "sh", "-c", script)).stdout.strip()


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, data: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


async def put(
    docker: DockerClient, name: str, path: str, archive: bytes, **query: str
) -> tuple[int, str]:
    url = f"http://docker/v1.51/containers/{name}/archive"
    params = {"path": path, **query}
    async with docker.session.put(url, data=archive, params=params) as response:
        text = await response.text()
        return response.status, json.loads(text)["message"] if text else ""


async def head(docker: DockerClient, name: str, path: str) -> dict[str, Any]:
    url = f"http://docker/v1.51/containers/{name}/archive"
    async with docker.session.head(url, params={"path": path}) as response:
        assert response.status == 200
        shown: dict[str, Any] = json.loads(
            base64.b64decode(response.headers["X-Docker-Container-Path-Stat"])
        )
        return shown


def mount_table() -> str:
    return Path("/proc/self/mountinfo").read_text()


async def get(docker: DockerClient, name: str, path: str) -> tuple[int, str]:
    url = f"http://docker/v1.51/containers/{name}/archive"
    async with docker.session.get(url, params={"path": path}) as response:
        return response.status, (await response.read()).decode(errors="replace")


async def test_stat(daemon: DaemonUnderTest, docker: DockerClient, box: str) -> None:
    await inside(
        daemon, "cd /tmp; mkdir -p d; echo abc >d/f; chmod 4750 d/f; ln -s d/f l; ln -s /etc e"
    )
    shown = await head(docker, box, "/tmp/d/f")
    assert (shown["name"], shown["size"], shown["linkTarget"]) == ("f", 4, "")
    assert shown["mode"] == 1 << 23 | 0o750, "Go's bits"
    assert (await head(docker, box, "/tmp/d"))["mode"] >> 31 == 1
    link = await head(docker, box, "tmp/l")
    assert (link["name"], link["linkTarget"]) == ("l", "/tmp/d/f")
    assert link["mode"] >> 27 & 1
    followed = await head(docker, box, "/tmp/e/")
    assert (followed["name"], followed["mode"] >> 31) == ("e", 1)
    assert (await head(docker, box, "/"))["name"] == "/"


async def test_round_trip_of_all_kinds(daemon: DaemonUnderTest, box: str, tmp_path: Path) -> None:
    await inside(
        daemon,
        "mkdir -p /t/sub; echo f >/t/sub/f; ln -s sub/f /t/l; ln /t/sub/f /t/h; mkfifo /t/p;"
        "chown 3:4 /t/sub; chmod 1755 /t/sub; dd if=/dev/urandom of=/t/big bs=1M count=5 2>/dev/null",
    )
    # Through a file, for the CLI gives what it unpacks by itself to its own user.
    await daemon.run("sh", "-c", f"docker cp {box}:/t - >{tmp_path}/t.tar")
    await inside(daemon, "mkdir /around")
    await daemon.run("sh", "-c", f"docker cp -a - {box}:/around <{tmp_path}/t.tar")
    await inside(daemon, "mv /around/t /back")
    show = "find . | sort | xargs stat -c '%n %F %a %u:%g'; md5sum big; readlink l; cat h"
    assert await inside(daemon, f"cd /t; {show}") == await inside(daemon, f"cd /back; {show}")


async def test_mounts_are_seen_also_when_it_is_stopped(
    daemon: DaemonUnderTest, docker: DockerClient, box: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("in")
    for path in ("/vol/f", "/tmp/f"):
        await daemon.docker("cp", f"{tmp_path}/f", f"{box}:{path}")
    assert await inside(daemon, "cat /vol/f /tmp/f") == "inin"
    assert (await put(docker, box, "/ro", tar_of(member("x"))))[0] == 403
    await daemon.docker("stop", "-t", "0", box)
    volume = daemon.root / "state" / "volumes" / "moby" / "boxvol" / "_data"
    assert (volume / "f").read_text() == "in"
    await daemon.docker("cp", f"{tmp_path}/f", f"{box}:/vol/stopped")
    await daemon.docker("cp", f"{tmp_path}/f", f"{box}:/tmp/stopped")
    assert (volume / "stopped").read_text() == "in"
    assert (await put(docker, box, "/ro", tar_of(member("x"))))[0] == 403
    await daemon.docker("cp", f"{box}:/vol/f", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "in"

    def nothing_mounted() -> bool:  # the answer may come before the clearing up
        return f"{daemon.root}/state" not in mount_table()

    await until(nothing_mounted)
    await daemon.docker("start", box)
    assert await inside(daemon, "cat /vol/stopped /tmp/stopped") == "inin"


async def test_a_readonly_root_takes_nothing(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await daemon.docker(
        *("run", "-d", "--name", "fixed", "--read-only", "-v", "fixedvol:/v"),
        *("busybox", "sleep", "60"),
    )
    status, words = await put(docker, "fixed", "/tmp", tar_of(member("x")))
    assert (status, words) == (403, "container rootfs is marked read-only")
    assert (await put(docker, "fixed", "/v", tar_of(member("x"))))[0] == 200
    await daemon.docker("exec", "fixed", "test", "-e", "/v/x")
    await daemon.docker("rm", "-f", "fixed")
    await daemon.docker("volume", "rm", "fixedvol")


async def test_refusals(daemon: DaemonUnderTest, docker: DockerClient, box: str) -> None:
    archive = tar_of(member("f", b"x"))
    assert (await put(docker, box, "/no/such", archive))[0] == 404
    assert await put(docker, box, "/etc/passwd", archive) == (
        400,
        "extraction point is not a directory",
    )
    assert (await put(docker, box, "", archive))[0] == 400
    assert (await put(docker, "nosuch", "/", archive))[0] == 404
    assert (await put(docker, box, "/tmp", b"this is no tar archive" * 100))[0] in (400, 500)
    assert (await get(docker, box, "/no"))[0] == 404
    await inside(daemon, "mkdir -p /keep/d; touch /keep/f")
    keep = {"noOverwriteDirNonDir": "1"}
    assert (await put(docker, box, "/keep", tar_of(member("d", b"x")), **keep))[0] == 400
    folder = tar_of(member("f", type=tarfile.DIRTYPE, mode=0o755))
    assert (await put(docker, box, "/keep", folder, **keep))[0] == 400
    assert await inside(daemon, "test -d /keep/d && test -f /keep/f && echo same") == "same"
    assert (await put(docker, box, "/keep", folder))[0] == 200


async def test_owners(daemon: DaemonUnderTest, docker: DockerClient, box: str) -> None:
    archive = tar_of(member("owned", b"x", uid=70, gid=71))
    assert (await put(docker, box, "/tmp", archive))[0] == 200
    assert await inside(daemon, "stat -c %u:%g /tmp/owned") == "70:71"
    await daemon.docker("run", "-d", "--name", "user", "-u", "12:13", "busybox", "sleep", "60")
    assert (await put(docker, "user", "/tmp", archive, copyUIDGID="1"))[0] == 200
    shown = await daemon.docker("exec", "user", "stat", "-c", "%u:%g", "/tmp/owned")
    assert shown.stdout.strip() == "12:13"
    await daemon.docker("rm", "-f", "user")


async def test_hostile_archives_stay_inside(
    daemon: DaemonUnderTest, docker: DockerClient, box: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    escape = "../" * 20 + str(victim).lstrip("/")
    link = member("ln", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    root = member("up", type=tarfile.SYMTYPE, linkname="../" * 20)
    below = str(victim).lstrip("/")
    archives = {
        "dots": tar_of(member(escape, b"evil")),
        "absolute": tar_of(member(str(victim), b"evil")),
        "through a link": tar_of(link, member("ln/victim", b"evil")),
        "through dots in a link": tar_of(root, member(f"up/{below}", b"evil")),
        "hard link": tar_of(member("h", type=tarfile.LNKTYPE, linkname=escape)),
        "hard link through a link": tar_of(
            root, member("h", type=tarfile.LNKTYPE, linkname=f"up/{below}"), member("h", b"evil")
        ),
    }
    for what, archive in archives.items():
        await put(docker, box, "/tmp", archive)
        assert victim.read_text() == "untouched", what
        assert victim.stat().st_nlink == 1, what
    assert os.listdir(tmp_path) == ["victim"]
    await inside(daemon, f"ln -s {tmp_path} /escape; ln -s / /slash")
    # The last but one archive may have made that path inside; what is shown is never the host's.
    for path in ("/escape/victim", f"/slash/../..{victim}"):
        assert "untouched" not in (await get(docker, box, path))[1]
    await inside(daemon, f"rm -rf {tmp_path}")
    assert (await get(docker, box, "/escape/victim"))[0] == 404
    assert (await get(docker, box, f"/slash/../..{victim}"))[0] == 404
    assert (await put(docker, box, "/escape", tar_of(member("victim", b"evil"))))[0] == 404
    assert victim.read_text() == "untouched"


async def test_races_of_links_end_inside(
    daemon: DaemonUnderTest, docker: DockerClient, box: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("secret of the host")
    await inside(
        daemon, f"mkdir -p /race/real{tmp_path}; mkdir -p /race/real; echo ok >/race/real/f"
    )
    swap = f"cd /race; while :; do ln -sfn {tmp_path} swap; ln -sfn real swap; done"
    await daemon.docker("exec", "-d", box, "sh", "-c", swap)
    for _ in range(20):
        status, body = await get(docker, box, "/race/swap/f")
        assert "secret" not in body
        assert status in (200, 404)
        await put(docker, box, "/race/swap", tar_of(member("planted", b"x")))
    assert os.listdir(tmp_path) == ["f"]
    await daemon.docker("restart", "-t", "0", box)


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zst"])
async def test_compressed_archives(
    daemon: DaemonUnderTest, docker: DockerClient, box: str, how: str
) -> None:
    plain = tar_of(member(f"from-{how}", b"content"))
    if how == "zst":
        import zstandard

        packed = zstandard.compress(plain)
    else:
        import bz2
        import gzip
        import lzma

        packed = {"gz": gzip, "bz2": bz2, "xz": lzma}[how].compress(plain)
    assert await put(docker, box, "/tmp", packed) == (200, "")
    assert await inside(daemon, f"cat /tmp/from-{how}") == "content"
    assert (await put(docker, box, "/tmp", packed[:-8]))[0] in (400, 500)


async def test_a_client_that_leaves_holds_nothing(
    daemon: DaemonUnderTest, docker: DockerClient, box: str
) -> None:
    await inside(daemon, "dd if=/dev/zero of=/huge bs=1M count=64 2>/dev/null")
    for _ in range(3):
        connector = aiohttp.UnixConnector(str(daemon.socket("docker")))
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"http://docker/v1.51/containers/{box}/archive"
            async with session.get(url, params={"path": "/huge"}) as response:
                assert await response.content.read(1000)
    await daemon.docker("rm", "-f", "-v", box)
    for _ in range(50):
        if f"{daemon.root}/state" not in mount_table():
            break
        await asyncio.sleep(0.1)
    assert f"{daemon.root}/state" not in mount_table()
    await daemon.docker("run", "-d", "--name", box, "-v", "boxvol:/vol", "busybox", "sleep", "9")


async def test_export_and_import(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    await daemon.docker(
        *("run", "--name", "ex", "-v", "exv:/vol", "busybox"),
        *("sh", "-c", "echo new >/c; rm /etc/shells; echo v >/vol/f; chown 5:6 /c"),
    )
    out = tmp_path / "export.tar"
    await daemon.docker("export", "-o", str(out), "ex")
    with tarfile.open(out) as tar:
        names = set(tar.getnames())
        assert (tar.getmember("c").uid, tar.getmember("c").gid) == (5, 6)
    assert {"bin", "etc/passwd", "vol"} <= names
    assert not {"etc/shells", "vol/f"} & names
    id = (
        await daemon.docker("import", "-c", 'CMD ["cat", "/c"]', "-m", "said", str(out), "imp:1")
    ).stdout.strip()
    assert id.startswith("sha256:")
    assert (await daemon.docker("run", "--rm", "imp:1")).stdout == "new\n"
    shown = await daemon.docker("inspect", "-f", "{{len .RootFS.Layers}} {{.Comment}}", "imp:1")
    assert shown.stdout.strip() == "1 said"
    bad = await daemon.docker("import", "-", "imp:2", stdin=b"no tar at all" * 200, check=False)
    assert bad.returncode == 1
    assert "imp:2" not in (await daemon.docker("images")).stdout
    await daemon.docker("rm", "ex")
    await daemon.docker("rmi", "imp:1")
    await daemon.docker("volume", "rm", "exv")


async def test_changes(daemon: DaemonUnderTest) -> None:
    script = (
        "echo a >/etc/new; echo b >>/etc/passwd; rm /etc/shells; mkdir -p /d/e; touch /d/e/f;"
        "rm -r /var; mkdir /var; touch /var/x"
    )
    await daemon.docker("run", "--name", "ch", "busybox", "sh", "-c", script)
    found = set((await daemon.docker("diff", "ch")).stdout.splitlines())
    assert {"C /etc", "A /etc/new", "C /etc/passwd", "A /d", "A /d/e", "A /d/e/f"} <= found
    assert {"C /var", "A /var/x"} <= found
    assert not {line for line in found if "resolv" in line or line.startswith("C /dev")}
    await daemon.docker("create", "--name", "never", "busybox", "true")
    assert (await daemon.docker("diff", "never")).stdout == ""
    await daemon.docker("run", "--name", "nothing", "busybox", "true")
    assert (await daemon.docker("diff", "nothing")).stdout == ""
    await daemon.docker("rm", "ch", "never", "nothing")


async def test_commit(daemon: DaemonUnderTest) -> None:
    await daemon.docker(
        *("run", "-d", "--name", "cm", "-e", "A=1", "-l", "k=v", "busybox"),
        *("sh", "-c", "echo c >/c; rm /etc/group; sleep 600"),
    )
    for _ in range(50):
        if (await daemon.docker("exec", "cm", "cat", "/c", check=False)).returncode == 0:
            break
        await asyncio.sleep(0.1)
    changes = ("CMD cat /c", "ENV B=2", "EXPOSE 80 90/udp", 'LABEL l="a b"', "WORKDIR /tmp")
    flags = [word for change in changes for word in ("-c", change)]
    id = (
        await daemon.docker("commit", "-m", "msg", "-a", "A <a@b>", *flags, "cm", "cm:v1")
    ).stdout.strip()
    (shown,) = json.loads((await daemon.docker("inspect", "cm:v1")).stdout)
    config = shown["Config"]
    assert shown["Id"] == id
    assert (shown["Author"], shown["Comment"]) == ("A <a@b>", "msg")
    assert shown["Parent"].startswith("sha256:")
    assert config["Cmd"] == ["/bin/sh", "-c", "cat /c"]
    assert {"A=1", "B=2"} <= set(config["Env"])
    assert set(config["ExposedPorts"]) == {"80/tcp", "90/udp"}
    assert (config["Labels"]["l"], config["Labels"]["k"]) == ("a b", "v")
    assert config["WorkingDir"] == "/tmp"
    state = await daemon.docker("inspect", "-f", "{{.State.Status}}", "cm")
    assert state.stdout.strip() == "running", "paused only for the while"
    assert (await daemon.docker("run", "--rm", "cm:v1")).stdout == "c\n"
    gone = await daemon.docker("run", "--rm", "cm:v1", "cat", "/etc/group", check=False)
    assert "No such file" in gone.stderr
    listed = await daemon.docker("run", "--rm", "cm:v1", "stat", "-c", "%s", "/etc/passwd")
    assert listed.returncode == 0
    # Nothing new: no further layer.
    await daemon.docker("create", "--name", "same", "cm:v1")
    await daemon.docker("commit", "same", "cm:v2")
    layers = "{{len .RootFS.Layers}}"
    one, two = [
        (await daemon.docker("inspect", "-f", layers, name)).stdout for name in ("cm:v1", "cm:v2")
    ]
    assert one == two
    refused = await daemon.docker("commit", "-c", "RUN true", "cm", "cm:v3", check=False)
    assert "run is not a valid change command" in refused.stderr
    await daemon.docker("rm", "-f", "cm", "same")
    await daemon.docker("rmi", "cm:v1", "cm:v2")


async def test_a_committed_image_leaves_as_any_other(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    await daemon.docker("run", "--name", "sv", "busybox", "sh", "-c", "echo s >/s")
    await daemon.docker("commit", "sv", "saved:1")
    out = tmp_path / "saved.tar"
    await daemon.docker("save", "-o", str(out), "saved:1")
    shown = await daemon.run("skopeo", "inspect", "--config", f"docker-archive:{out}")
    assert len(json.loads(shown.stdout)["rootfs"]["diff_ids"]) == 2
    await daemon.docker("rm", "sv")
    await daemon.docker("rmi", "saved:1")
    await daemon.docker("load", "-i", str(out))
    assert (await daemon.docker("run", "--rm", "saved:1", "cat", "/s")).stdout == "s\n"
    await daemon.docker("rmi", "saved:1")
