"""Volumes by the real docker CLI, and images mounted in pods; also what a kill -9 leaves."""

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharedrt.pb.runtime.v1 import ImageSpec, Mount
from tests.real.clients import IMAGE, CriClient, DockerClient
from tests.real.daemon import DaemonUnderTest

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def run(daemon: DaemonUnderTest, *arguments: str) -> str:
    return (await daemon.docker("run", "--rm", *arguments)).stdout.strip()


async def volumes(daemon: DaemonUnderTest) -> set[str]:
    return set((await daemon.docker("volume", "ls", "-q")).stdout.split())


async def mountpoint(daemon: DaemonUnderTest, name: str) -> Path:
    shown = await daemon.docker("volume", "inspect", "-f", "{{.Mountpoint}}", name)
    return Path(shown.stdout.strip())


def is_mounted(path: Path) -> bool:
    # os.path.ismount does not see a bind within one file system.
    mounts = (line.split()[4] for line in content("/proc/self/mountinfo").splitlines())
    return str(path) in mounts


def content(*parts: str) -> str:
    return Path(*parts).read_text()


async def test_a_named_volume_outlives_its_containers(daemon: DaemonUnderTest) -> None:
    await run(daemon, "-v", "kept:/data", "busybox", "sh", "-c", "echo one >/data/f")
    assert await run(daemon, "-v", "kept:/x:ro", "busybox", "cat", "/x/f") == "one"
    refused = await daemon.docker(
        "run", "--rm", "-v", "kept:/x:ro", "busybox", "touch", "/x/g", check=False
    )
    assert "Read-only file system" in refused.stderr
    data = await mountpoint(daemon, "kept")
    assert (data / "f").read_text() == "one\n"
    assert stat.S_IMODE(os.stat(data.parent.parent).st_mode) == 0o700, "root's alone"
    await daemon.docker("volume", "rm", "kept")
    assert not data.parent.exists()


async def test_one_file_read_only(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "file"
    await asyncio.to_thread(file.write_text, "of the host\n")
    script = "cat /mine; echo more >>/mine"
    for mount in (("-v", f"{file}:/mine:ro"), ("--mount", f"type=bind,src={file},dst=/mine,ro")):
        done = await daemon.docker(
            "run", "--rm", *mount, "busybox", "sh", "-c", script, check=False
        )
        assert done.stdout == "of the host\n"
        assert "Read-only file system" in done.stderr
    assert content(str(file)) == "of the host\n"


async def test_an_empty_volume_takes_the_images_content(daemon: DaemonUnderTest) -> None:
    script = (
        "mkdir -p /seed/sub; echo a >/seed/sub/f; ln -s sub/f /seed/link; ln /seed/sub/f /seed/hard;"
        "chown 12:34 /seed/sub/f; chmod 2751 /seed/sub; chown 7:8 /seed; chmod 1770 /seed; mkfifo /seed/pipe"
    )
    await daemon.docker("run", "--name", "seed", "busybox", "sh", "-c", script)
    await daemon.docker("commit", "seed", "seeded")
    show = (
        "cd /seed; stat -c '%n %F %a %u:%g %h' . sub sub/f pipe; readlink link; "
        "test sub/f -ef hard && echo same"
    )
    plain = await run(daemon, "seeded", "sh", "-c", show)
    assert await run(daemon, "-v", "up:/seed", "seeded", "sh", "-c", show) == plain
    assert "same" in plain
    assert "1770 7:8" in plain
    await run(daemon, "-v", "up:/seed", "seeded", "sh", "-c", "rm -r /seed/sub; touch /seed/new")
    listed = await run(daemon, "-v", "up:/seed", "seeded", "ls", "/seed")
    assert "sub" not in listed.split(), "copied into an empty volume only"
    mount = "type=volume,src=bare,dst=/seed,volume-nocopy"
    assert await run(daemon, "--mount", mount, "seeded", "ls", "-A", "/seed") == ""
    await daemon.docker("rm", "seed")
    await daemon.docker("volume", "rm", "up", "bare")
    await daemon.docker("rmi", "seeded")


async def test_a_copy_goes_nowhere_but_into_the_volume(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("host")
    script = f"rmdir /opt; mkdir -p {tmp_path}; touch {tmp_path}/own; ln -s {tmp_path} /opt"
    await daemon.docker("run", "--name", "evil", "busybox", "sh", "-c", script)
    await daemon.docker("commit", "evil", "evil")
    assert await run(daemon, "-v", "caught:/opt", "evil", "ls", "-A", "/opt/") == "own"
    assert os.listdir(await mountpoint(daemon, "caught")) == ["own"]
    await daemon.docker("rm", "evil")
    await daemon.docker("volume", "rm", "caught")
    await daemon.docker("rmi", "evil")


async def test_anonymous_volumes_go_with_their_container(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    before = await volumes(daemon)
    await run(daemon, "-v", "/anon", "busybox", "true")
    assert await volumes(daemon) == before
    await daemon.docker("run", "--name", "a1", "-v", "/anon", "busybox", "touch", "/anon/f")
    await daemon.docker("create", "--name", "a2", "--volumes-from", "a1:ro", "busybox", "true")
    (made,) = await volumes(daemon) - before
    await daemon.docker("rm", "-v", "a1")
    assert made in await volumes(daemon), "another container still mounts it"
    refused = await daemon.docker("volume", "rm", made, check=False)
    assert refused.returncode == 1
    assert "volume is in use" in refused.stderr
    await daemon.docker("rm", "-v", "a2")
    assert await volumes(daemon) == before
    await daemon.docker("run", "--name", "a3", "-v", "/anon", "busybox", "true")
    await daemon.docker("rm", "a3")
    (left,) = await volumes(daemon) - before
    await daemon.docker("volume", "create", "named")
    assert (await docker.post("/volumes/prune"))[0] == 200
    assert await volumes(daemon) == before | {"named"}
    assert (await docker.post("/volumes/prune", filters=json.dumps({"all": ["1"]})))[0] == 200
    assert not {"named", left} & await volumes(daemon)


async def test_the_volumes_of_an_image(daemon: DaemonUnderTest) -> None:
    await daemon.docker("run", "--name", "vo", "busybox", "sh", "-c", "mkdir /st; echo s >/st/f")
    await daemon.docker("commit", "-c", "VOLUME /st", "vo", "withvolume")
    await daemon.docker(
        "run", "--name", "wo", "withvolume", "sh", "-c", "cat /st/f; echo t >>/st/f"
    )
    shown = await daemon.docker("inspect", "-f", "{{json .Mounts}}", "wo")
    (mount,) = json.loads(shown.stdout)
    assert (mount["Type"], mount["Destination"], mount["RW"]) == ("volume", "/st", True)
    assert content(mount["Source"], "f") == "s\nt\n"
    changed = (await daemon.docker("diff", "wo")).stdout
    assert "/st/f" not in changed
    await daemon.docker("rm", "-v", "vo", "wo")
    await daemon.docker("rmi", "withvolume")


async def test_options_are_mounted_while_somebody_uses_them(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("bound")
    await daemon.docker(
        *(
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            "o=bind",
            "-o",
            f"device={tmp_path}",
            "bound",
        )
    )
    data = await mountpoint(daemon, "bound")
    assert not is_mounted(data)
    await daemon.docker("run", "-d", "--name", "b1", "-v", "bound:/b", "busybox", "sleep", "60")
    assert await run(daemon, "-v", "bound:/b", "busybox", "cat", "/b/f") == "bound"
    assert is_mounted(data), "b1 runs on"
    await daemon.kill9()
    await daemon.start()
    assert is_mounted(data)
    await daemon.docker("rm", "-f", "b1")
    assert not is_mounted(data)
    await daemon.docker("volume", "rm", "bound")
    assert (tmp_path / "f").read_text() == "bound", "what was mounted is not the volume's to remove"


async def test_a_file_system_in_a_file(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    await daemon.run("mkfs.ext4", "-q", str(image))
    await daemon.docker(
        *("volume", "create", "-o", "type=ext4", "-o", "o=loop", "-o", f"device={image}", "loop")
    )
    first = await daemon.docker(
        "run", "--rm", "-v", "loop:/l", "busybox", "touch", "/l/f", check=False
    )
    if "failed to setup loop device" in first.stderr:
        await daemon.docker("volume", "rm", "loop")
        pytest.skip("this host has no loop devices")
    assert first.returncode == 0, first.stderr
    assert "f" in (await run(daemon, "-v", "loop:/l", "busybox", "ls", "/l")).split()
    await daemon.docker("volume", "rm", "loop")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "nosuch=1"), 'invalid option: "nosuch"'),
        (("-o", "size=1g"), "quota size requested but no quota support"),
        (("-o", "o=bind"), "missing required option"),
        (("-d", "nosuchdriver"), "nosuchdriver"),
        (("a",), "too short"),
        (("no/slash",), "invalid characters"),
    ],
)
async def test_volumes_that_cannot_be_made(
    daemon: DaemonUnderTest, options: tuple[str, ...], words: str
) -> None:
    before = await volumes(daemon)
    done = await daemon.docker("volume", "create", *options, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert await volumes(daemon) == before


async def test_a_device_that_is_not_there_refuses_the_start(daemon: DaemonUnderTest) -> None:
    await daemon.docker(
        *("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/no/such", "gone")
    )
    done = await daemon.docker(
        "run", "--name", "gone", "-v", "gone:/g", "busybox", "true", check=False
    )
    assert done.returncode == 125
    assert "failed to mount local volume" in done.stderr
    await daemon.docker("rm", "gone")
    await daemon.docker("volume", "rm", "gone")


async def test_part_of_a_volume(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await run(daemon, "-v", "parts:/p", "busybox", "sh", "-c", "mkdir -p /p/a/b; echo x >/p/a/b/f")
    await run(daemon, "-v", "parts:/p", "busybox", "ln", "-s", "/etc", "/p/out")
    await run(daemon, "-v", "parts:/p", "busybox", "ln", "-s", "a/b", "/p/inside")

    async def cat(sub: str, path: str) -> tuple[int, str]:
        mount = {
            "Type": "volume",
            "Source": "parts",
            "Target": "/m",
            "VolumeOptions": {"Subpath": sub},
        }
        body = {"Image": "busybox", "Cmd": ["cat", path], "HostConfig": {"Mounts": [mount]}}
        status, created = await docker.post("/containers/create", json=body)
        if status != 201:
            return status, str(created)
        id = created["Id"]
        status, answer = await docker.post(f"/containers/{id}/start")
        if status == 204:
            _, ended = await docker.post(f"/containers/{id}/wait")
            status = ended["StatusCode"]
            answer = (await daemon.docker("logs", id)).stdout
        await docker.delete(f"/containers/{id}", force="1")
        return status, str(answer)

    assert await cat("a/b", "/m/f") == (0, "x\n")
    assert await cat("inside", "/m/f") == (0, "x\n")
    assert (await cat("no/such", "/m/f"))[0] == 404
    assert (await cat("../../..", "/m/f"))[0] == 400
    # A link that leads out of the volume is refused, one that stays inside is not.
    assert (await cat("out", "/m/passwd"))[0] == 400
    await daemon.docker("volume", "rm", "parts")


async def test_an_empty_part_takes_the_images_content(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    await run(daemon, "-v", "part2:/p", "busybox", "mkdir", "-p", "/p/deep/bin", "/p/cut")
    # One that was cut short while entries were moved in goes on where it was meant to go.
    await daemon.kill9()
    folder = daemon.root / "state" / "volumes" / "moby" / "part2"
    (folder / ".copy").mkdir()
    (folder / ".copy" / "marked").touch()
    (folder / ".copy.for").write_text("cut")
    await daemon.start()

    async def part(target: str, path: str) -> list[str]:
        options = {"VolumeOptions": {"Subpath": path}}
        mount = {"Type": "volume", "Source": "part2", "Target": target, **options}
        return (await docker.run({"Mounts": [mount]}, "ls", "-1", target)).split()

    assert await part("/new", "cut") == ["marked"]
    assert "sh" in await part("/bin", "deep/bin")
    assert sorted(os.listdir(folder)) == ["_data"]
    assert "sh" in os.listdir(folder / "_data" / "deep" / "bin")
    assert sorted(os.listdir(folder / "_data")) == ["cut", "deep"]
    await daemon.docker("volume", "rm", "part2")


async def test_disk_usage_and_events(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await run(
        daemon, "-v", "sized:/s", "busybox", "dd", "if=/dev/zero", "of=/s/f", "bs=1M", "count=3"
    )
    _, df = await docker.get("/system/df", type="volume")
    (usage,) = (v["UsageData"] for v in df["Volumes"] if v["Name"] == "sized")
    assert usage["RefCount"] == 0
    assert 3 << 20 <= usage["Size"] < 4 << 20
    await daemon.docker("volume", "rm", "sized")
    await asyncio.sleep(1)
    told = await daemon.docker(
        *("events", "--since", "30s", "--until", "0s", "--filter", "volume=sized"),
        *("--format", "{{.Action}}"),
    )
    assert told.stdout.split() == ["create", "mount", "unmount", "destroy"]


async def test_an_empty_volume_takes_nothing(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    await daemon.docker("volume", "create", "empty")
    _, df = await docker.get("/system/df", type="volume")
    assert [v["UsageData"] for v in df["Volumes"] if v["Name"] == "empty"] == [
        {"RefCount": 0, "Size": 0}
    ]
    pruned = await daemon.docker("volume", "prune", "-f", "--filter", "all=1")
    assert "empty" in pruned.stdout
    assert pruned.stdout.endswith("Total reclaimed space: 0B\n")
    await run(daemon, "-v", "full:/f", "busybox", "sh", "-c", "echo 12345 >/f/a; ln /f/a /f/b")
    pruned = await daemon.docker("volume", "prune", "-f", "--filter", "all=1")
    assert pruned.stdout.endswith("Total reclaimed space: 6B\n"), "a hard link takes nothing"


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system mounted below it."""
    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "srt-test", str(below)], check=True)
    (below / "f").touch()
    yield tmp_path
    subprocess.run(["umount", str(below)], check=True)


@pytest.mark.parametrize(
    ("mount", "seen", "writable"),
    [
        (":/m", True, True),
        (":/m:ro", True, False),
        ({"ReadOnly": True}, True, False),
        ({"ReadOnly": True, "BindOptions": {"ReadOnlyNonRecursive": True}}, True, True),
        (
            {
                "ReadOnly": True,
                "BindOptions": {"ReadOnlyForceRecursive": True, "Propagation": "rprivate"},
            },
            True,
            False,
        ),
        ({"BindOptions": {"NonRecursive": True}}, False, True),
    ],
)
async def test_what_is_mounted_below_a_bind(
    docker: DockerClient, nested: Path, mount: str | dict[str, Any], seen: bool, writable: bool
) -> None:
    script = "test -e /m/below/f && echo seen; touch /m/below/g && echo wrote"
    if isinstance(mount, str):
        host: dict[str, Any] = {"Binds": [f"{nested}{mount}"]}
    else:
        host = {"Mounts": [{"Type": "bind", "Source": str(nested), "Target": "/m", **mount}]}
    said = await docker.run(host, "sh", "-c", script)
    assert ("seen" in said, "wrote" in said) == (seen, writable)


async def test_one_file(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("host")
    assert await run(daemon, "-v", f"{tmp_path}/f:/f:ro", "busybox", "cat", "/f") == "host"
    refused = await daemon.docker(
        "run", "--rm", "-v", f"{tmp_path}/f:/f:ro", "busybox", "touch", "/f", check=False
    )
    assert "Read-only file system" in refused.stderr


async def test_propagation_needs_a_shared_source(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    await daemon.run("mount", "-t", "tmpfs", "srt-test", str(shared))
    try:
        await daemon.run("mount", "--make-private", str(shared))
        for kind in ("rshared", "rslave"):
            refused = await daemon.docker(
                "run", "--rm", "-v", f"{shared}:/m:{kind}", "busybox", "true", check=False
            )
            assert f"path {shared} is mounted on {shared} but it is not a shared" in refused.stderr
        await daemon.run("mount", "--make-shared", str(shared))
        (shared / "d").mkdir()
        await daemon.docker(
            *("run", "-d", "--name", "prop", "-v", f"{shared}:/m:rslave", "busybox", "sleep", "60")
        )
        await daemon.run("mount", "-t", "tmpfs", "late", str(shared / "d"))
        (shared / "d" / "late").touch()
        listed = await daemon.docker("exec", "prop", "ls", "/m/d")
        assert listed.stdout == "late\n", "what is mounted later is seen inside"
        await daemon.docker("rm", "-f", "prop")
        await daemon.run("umount", str(shared / "d"))
    finally:
        await daemon.run("umount", "-R", str(shared))


async def test_temporary_file_systems(daemon: DaemonUnderTest) -> None:
    show = (
        "stat -c '%a %u' /t; grep ' /t ' /proc/mounts; dd if=/dev/zero of=/t/f bs=1M count=4 2>&1"
    )
    for arguments, mode in (
        (("--tmpfs", "/t:size=3m,mode=1700,uid=5"), "1700 5"),
        (("--mount", "type=tmpfs,dst=/t,tmpfs-size=3m,tmpfs-mode=770"), "770 0"),
    ):
        done = await daemon.docker(
            "run", "--rm", *arguments, "busybox", "sh", "-c", show, check=False
        )
        assert done.stdout.startswith(mode)
        assert "size=3072k" in done.stdout
        assert "noexec" in done.stdout
        assert "No space left" in done.stdout


async def test_a_volume_in_memory(daemon: DaemonUnderTest) -> None:
    await daemon.docker(
        *("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=5m,uid=33"),
        "memory",
    )
    shown = await run(
        daemon, "-v", "memory:/v", "busybox", "sh", "-c", "grep ' /v ' /proc/mounts; stat -c %u /v"
    )
    assert "tmpfs /v tmpfs" in shown
    assert "size=5120k" in shown
    assert shown.endswith("\n33")
    await daemon.docker("volume", "rm", "memory")


async def test_a_server_that_cannot_be_had(daemon: DaemonUnderTest) -> None:
    """NFS is tried; what is in the way is said, and soon."""
    await daemon.docker(
        *("volume", "create", "-o", "type=nfs", "-o", "o=addr=127.0.0.1,soft,timeo=1,retrans=0"),
        *("-o", "device=:/export", "share"),
    )
    done = await daemon.docker(
        "run", "--rm", "-v", "share:/s", "busybox", "true", check=False, timeout_s=90
    )
    assert done.returncode == 125
    assert "failed to mount local volume: :/export: mount" in done.stderr
    await daemon.docker("volume", "rm", "share")


async def test_missing_folders(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    refused = await daemon.docker(
        *("run", "--rm", "--mount", f"type=bind,src={tmp_path}/no,dst=/m", "busybox", "true"),
        check=False,
    )
    assert f"bind source path does not exist: {tmp_path}/no" in refused.stderr
    await run(daemon, "-v", f"{tmp_path}/made/deep:/m:cached", "busybox", "true")
    assert (tmp_path / "made" / "deep").is_dir()


async def test_a_folder_that_the_client_wants_made(
    daemon: DaemonUnderTest, docker: DockerClient, tmp_path: Path
) -> None:
    mount = {
        "Type": "bind",
        "Source": f"{tmp_path}/made",
        "Target": "/m",
        "Consistency": "delegated",
    }
    body = {"Image": "busybox", "Cmd": ["touch", "/m/f"], "HostConfig": {"Mounts": [mount]}}
    status, answer = await docker.post("/containers/create", json=body)
    assert (status, "bind source path does not exist" in answer["message"]) == (400, True)
    mount["BindOptions"] = {"CreateMountpoint": True}  # type: ignore[assignment]
    status, made = await docker.post("/containers/create", json=body)
    assert status == 201
    await docker.post(f"/containers/{made['Id']}/start")
    await docker.post(f"/containers/{made['Id']}/wait")
    assert os.listdir(tmp_path / "made") == ["f"]
    await docker.delete(f"/containers/{made['Id']}")
    # Consistency is a word for other systems: taken, and without a meaning here.
    for word in ("cached", "consistent", "delegated"):
        bind = f"type=bind,src={tmp_path}/made,dst=/m,consistency={word}"
        assert await run(daemon, "--mount", bind, "busybox", "ls", "/m") == "f"


async def test_volumes_of_another_container(daemon: DaemonUnderTest, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    await daemon.docker(
        *("create", "--name", "owner", "-v", "kept2:/kept:ro", "-v", "/anon"),
        *("-v", f"{tmp_path}:/bind", "busybox", "true"),
    )
    script = "cat /bind/f; for d in kept anon bind; do touch /$d/g && echo $d; done; true"
    assert await run(daemon, "--volumes-from", "owner", "busybox", "sh", "-c", script) == (
        "xanon\nbind"
    )
    assert await run(daemon, "--volumes-from", "owner:ro", "busybox", "sh", "-c", script) == "x"
    await daemon.docker("rm", "-v", "owner")
    assert "kept2" in await volumes(daemon), "named volumes stay"
    await daemon.docker("volume", "rm", "kept2")


async def test_prune_by_labels(daemon: DaemonUnderTest, docker: DockerClient) -> None:
    before = await volumes(daemon)
    await daemon.docker("volume", "create", "--label", "tier=one", "p1")
    await daemon.docker("volume", "create", "--label", "tier=two", "p2")
    listed = await daemon.docker("volume", "ls", "-q", "--filter", "label=tier=one")
    assert listed.stdout.split() == ["p1"]
    wanted = {"all": ["1"], "label": ["tier"], "label!": ["tier=two"]}
    assert (await docker.post("/volumes/prune", filters=json.dumps(wanted)))[0] == 200
    assert await volumes(daemon) == before | {"p2"}
    await daemon.docker("volume", "rm", "p2")


async def test_volumes_are_one_namespaces_own(
    daemon: DaemonUnderTest, docker: DockerClient
) -> None:
    await daemon.docker("volume", "create", "mine")
    status, answer = await docker.get("/volumes/nosuch")
    assert (status, answer["message"]) == (404, "get nosuch: no such volume")
    tables = await daemon.cli("--json", "namespaces")
    assert "moby" in tables.stdout
    root = daemon.root / "state" / "volumes"
    assert os.listdir(root / "moby") == ["mine"]
    assert not (root / "k8s.io").exists()
    await daemon.docker("volume", "rm", "mine")


async def test_what_a_crash_left_is_removed(daemon: DaemonUnderTest) -> None:
    await daemon.docker("volume", "create", "stays")
    await daemon.kill9()
    root = daemon.root / "state" / "volumes" / "moby"
    (root / "orphan" / "_data" / "deep").mkdir(parents=True)
    (root / ".gone-0123").mkdir()
    # A copy that was cut short before it was whole, and a volume's folder that was never made.
    (root / "stays" / ".copy.new").mkdir()
    (root / "stays" / "_data").rmdir()
    await daemon.start()
    assert os.listdir(root) == ["stays"]
    assert await run(daemon, "-v", "stays:/etc", "busybox", "ls", "/etc/passwd") == "/etc/passwd"
    assert os.listdir(root / "stays") == ["_data"]
    await daemon.docker("volume", "rm", "stays")


async def test_an_image_as_a_mount(docker: DockerClient) -> None:
    mount = {"Type": "image", "Source": "busybox", "Target": "/i"}
    assert "bin" in (await docker.run({"Mounts": [mount]}, "ls", "-1", "/i")).split()
    part = {**mount, "ImageOptions": {"Subpath": "etc"}}
    assert "passwd" in await docker.run({"Mounts": [part]}, "ls", "/i")
    assert "Read-only file system" in await docker.run({"Mounts": [mount]}, "touch", "/i/f")


async def test_a_pod_with_an_image_mounted(daemon: DaemonUnderTest, cri: CriClient) -> None:
    pod = cri.pod_config("imagevolume")
    pod_id = await cri.run_pod(pod)
    mounts = [
        Mount(container_path="/whole", image=ImageSpec(image=IMAGE), readonly=True),
        Mount(
            container_path="/part",
            image=ImageSpec(image=IMAGE),
            image_sub_path="etc",
            readonly=True,
        ),
    ]
    id = await cri.create(pod_id, pod, "c", ["sleep", "60"], mounts=mounts)
    await cri.start(id)
    seen = await cri.exec_sync(id, "sh", "-c", "ls /whole/bin/sh /part/passwd; touch /whole/x")
    assert sorted(seen.stdout.split()) == [b"/part/passwd", b"/whole/bin/sh"]
    assert b"Read-only" in seen.stderr
    await daemon.kill9()
    await daemon.start()
    await cri.remove_pod(pod_id)
    assert f"k8s.io@{id}" not in content("/proc/self/mountinfo")
    assert not list((daemon.root / "state" / "snapshots" / "active").glob(f"k8s.io@{id}*"))
