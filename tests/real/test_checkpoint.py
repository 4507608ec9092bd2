"""Checkpoint and restore, by the CRIU of this host: whole where it serves this kernel, refused in words where not."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tarfile
from functools import partial
from pathlib import Path

import pytest
from grpclib import GRPCError, Status
from grpclib.exceptions import StreamTerminatedError

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import IMAGE, CriClient, cri_client
from tests.real.daemon import DaemonUnderTest, criu
from tests.real.oci_images import layer_tar
from tests.real.test_cri import PRIVATE_PID, ended, read, secured
from tests.real.test_cri_containers import info
from tests.real.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

COUNT = (
    "rm /etc/nsswitch.conf; echo kept > /kept; trap 'echo told; exit 7' TERM; i=0;"
    " while true; do i=$((i+1)); echo $i; sleep 0.1; done"
)


async def unfit(handler: str = "runc") -> str:
    """Why CRIU cannot serve here, by its own check and by crun's word; empty when it can."""
    if handler == "crun":
        crun = os.environ.get("SHAREDRT_TEST_CRUN", "crun")
        told = await asyncio.to_thread(
            subprocess.run, [crun, "--version"], capture_output=True, text=True
        )
        if "+CRIU" not in told.stdout:
            return "without"
    program = shutil.which(
        criu(), path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    if program is None:
        return "missing"
    check = await asyncio.to_thread(
        subprocess.run, [program, "check"], capture_output=True, text=True
    )
    return "" if check.returncode == 0 else check.stderr or "unfit"


async def pod(cri: CriClient, name: str, handler: str = "runc") -> tuple[str, pb.PodSandboxConfig]:
    context = pb.LinuxSandboxSecurityContext(namespace_options=PRIVATE_PID)
    config = cri.pod_config(name, linux=pb.LinuxPodSandboxConfig(security_context=context))
    return await cri.run_pod(config, handler), config


def numbers(path: str) -> list[int]:
    words = [line.split(" ", 3)[3] for line in read(path).splitlines()]
    return [int(word) for word in words if word.isdigit()]


async def checkpoint(cri: CriClient, id: str, location: Path) -> None:
    await cri.runtime.checkpoint_container(
        pb.CheckpointContainerRequest(container_id=id, location=str(location), timeout=60)
    )


async def restore(
    cri: CriClient, id: str, config: pb.PodSandboxConfig, archive: Path, name: str = "restored"
) -> str:
    image = pb.ImageSpec(image=str(archive))
    return await cri.create(id, config, name, [], image=image, linux=secured())


@pytest.mark.parametrize("handler", ["runc", "crun"])
async def test_a_container_goes_on_where_it_was(
    cri: CriClient, tmp_path: Path, handler: str
) -> None:
    archive = tmp_path / "count.tar"
    first, config = await pod(cri, f"first-{handler}", handler)
    try:
        main = await cri.create(first, config, "main", ["sh", "-c", COUNT], linux=secured())
        await cri.start(main)
        before = (await cri.status(main)).log_path
        await until(lambda: len(numbers(before)) >= 5)
        if why := await unfit(handler):
            with pytest.raises(GRPCError) as caught:
                await checkpoint(cri, main, archive)
            assert caught.value.status is Status.FAILED_PRECONDITION
            words = {"missing": "package criu", "without": "built without CRIU"}
            assert words.get(why, "cannot serve this kernel: ") in str(caught.value.message)
            assert not archive.exists()
            shown = await cri.status(main)
            assert shown.state == pb.ContainerState.CONTAINER_RUNNING
            return
        await checkpoint(cri, main, archive)
        seen = len(numbers(before))
        await until(lambda: len(numbers(before)) > seen)  # it runs on
    finally:
        await cri.remove_pod(first)
    last = numbers(before)[-1]
    second, config = await pod(cri, f"second-{handler}", handler)
    try:
        again = await restore(cri, second, config, archive)
        await cri.start(again)
        status = await cri.status(again)
        assert status.state == pb.ContainerState.CONTAINER_RUNNING
        assert status.image.image == IMAGE
        await until(lambda: len(numbers(status.log_path)) >= 5)
        told = numbers(status.log_path)
        assert 5 <= told[0] <= last
        assert told == list(range(told[0], told[0] + len(told)))
        pid = (await info(cri, again))["pid"]
        assert again in read(f"/proc/{pid}/cgroup"), "its own cgroup, not that of what was dumped"
        shell = await cri.exec_sync(again, "sh", "-c", "cat /kept; ls /etc/nsswitch.conf")
        assert (shell.stdout, shell.exit_code) == (b"kept\n", 1)
        await cri.runtime.stop_container(pb.StopContainerRequest(container_id=again, timeout=10))
        assert (await ended(cri, again)).exit_code == 7
    finally:
        await cri.remove_pod(second)


async def test_what_cannot_be_checkpointed_or_restored(
    daemon: DaemonUnderTest, cri: CriClient, tmp_path: Path
) -> None:
    document = b'{"rootfsImageName": "%s", "runtime": "runc"}' % IMAGE.encode()
    made = tmp_path / "made.tar"
    made.write_bytes(layer_tar({"config.dump": document, "spec.dump": b"{}"}))
    bound = b'{"mounts": [{"destination": "/data", "type": "bind"}]}'
    mounted = tmp_path / "mounted.tar"
    mounted.write_bytes(layer_tar({"config.dump": document, "spec.dump": bound}))
    id, config = await pod(cri, "refusals")
    try:
        for archive, status, words in (
            (tmp_path / "missing.tar", Status.NOT_FOUND, "missing.tar"),
            (mounted, Status.INVALID_ARGUMENT, "/data"),
            (Path("/bin/busybox"), Status.INVALID_ARGUMENT, "busybox"),
        ):
            with pytest.raises(GRPCError) as caught:
                await restore(cri, id, config, archive)
            assert caught.value.status is status
            assert words in str(caught.value.message)
        if await unfit():
            with pytest.raises(GRPCError) as caught:
                await restore(cri, id, config, made)
            assert caught.value.status is Status.FAILED_PRECONDITION
        created = await cri.create(id, config, "created", ["true"], linux=secured())
        with pytest.raises(GRPCError) as caught:
            await checkpoint(cri, created, tmp_path / "x.tar")
        assert caught.value.status is Status.FAILED_PRECONDITION
        assert "not running" in str(caught.value.message)
        # Of what was refused, nothing is kept.
        folders = await asyncio.to_thread(
            lambda: [f.name for f in (daemon.root / "state/containers/k8s.io").glob("*")]
        )
        assert set(folders) <= {created}
    finally:
        await cri.remove_pod(id)


async def fit_pod(cri: CriClient, name: str) -> tuple[str, pb.PodSandboxConfig]:
    if why := await unfit():
        pytest.skip(f"CRIU cannot serve here: {why}")
    return await pod(cri, name)


async def test_mounts_a_terminal_and_sockets_come_along(cri: CriClient, tmp_path: Path) -> None:
    """What a real program has: a volume, a listening socket, a terminal, children. A second
    checkpoint, of what was restored, serves as well."""
    first, config = await fit_pod(cri, "rich")
    volume = tmp_path / "volume"
    volume.mkdir()
    mount = pb.Mount(container_path="/volume", host_path=str(volume))
    script = (
        "while :; do nc -l -p 7 -e echo hi; done & sleep 0.5; exec 3>/volume/open;"
        " while true; do echo tick >> /ticks; echo here; sleep 0.1; done"
    )
    try:
        main = await cri.create(
            first, config, "main", ["sh", "-c", script], mounts=[mount], tty=True, linux=secured()
        )
        await cri.start(main)
        log = (await cri.status(main)).log_path
        await until(lambda: "here" in read(log))
        await checkpoint(cri, main, tmp_path / "one.tar")
    finally:
        await cri.remove_pod(first)
    before = 1
    for number, archive in enumerate(("one.tar", "two.tar")):
        id, config = await pod(cri, f"rich{number}")
        try:
            image = pb.ImageSpec(image=str(tmp_path / archive))
            with pytest.raises(GRPCError) as caught:
                await cri.create(id, config, "bare", [], image=image, tty=True, linux=secured())
            assert caught.value.status is Status.INVALID_ARGUMENT
            assert "/volume" in str(caught.value.message)
            again = await cri.create(
                id, config, "again", [], image=image, mounts=[mount], tty=True, linux=secured()
            )
            await cri.start(again)
            shown = await cri.exec_sync(again, "sh", "-c", "readlink /proc/1/fd/3; wc -l < /ticks")
            assert shown.stdout.split()[0] == b"/volume/open"
            ticks = int(shown.stdout.split()[1])
            await until(partial(shows, (await cri.status(again)).log_path, "here"))
            echoed = await cri.exec_sync(again, "sh", "-c", "nc 127.0.0.1 7 < /dev/null")
            assert echoed.stdout == b"hi\n"
            shown = await cri.exec_sync(again, "sh", "-c", "sleep 0.2; wc -l < /ticks")
            assert int(shown.stdout) > ticks >= before
            before = ticks
            if number == 0:
                await checkpoint(cri, again, tmp_path / "two.tar")
        finally:
            await cri.remove_pod(id)


async def test_a_damaged_checkpoint_is_a_start_error_in_criu_s_words(
    daemon: DaemonUnderTest, cri: CriClient, tmp_path: Path
) -> None:
    id, config = await fit_pod(cri, "damaged")
    try:
        main = await cri.create(id, config, "main", ["sleep", "60"], linux=secured())
        await cri.start(main)
        await checkpoint(cri, main, tmp_path / "whole.tar")
        with (
            tarfile.open(tmp_path / "whole.tar") as whole,
            tarfile.open(tmp_path / "part.tar", "w") as part,
        ):
            for member in whole:
                if not member.name.startswith("checkpoint/core-"):
                    part.addfile(member, whole.extractfile(member))
        again = await restore(cri, id, config, tmp_path / "part.tar")
        with pytest.raises(GRPCError) as caught:
            await cri.start(again)
        assert "CRIU: " in str(caught.value.message)
        status = await cri.status(again)
        assert (status.state, status.reason) == (
            pb.ContainerState.CONTAINER_EXITED,
            "StartError",
        )
    finally:
        await cri.remove_pod(id)
    assert not (daemon.root / "state/containers/k8s.io" / again).exists()


async def test_callers_that_give_up_and_a_daemon_that_is_killed(
    daemon: DaemonUnderTest, tmp_path: Path
) -> None:
    """No archive, no half of one, nothing frozen; and the container runs on."""
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
        id, config = await fit_pod(cri, "given-up")
        fill = "head -c 60000000 /dev/urandom > /dev/shm/x; i=0; while :; do echo $((i+=1)); sleep 0.05; done"
        main = await cri.create(id, config, "main", ["sh", "-c", fill], linux=secured())
        await cri.start(main)
        log = (await cri.status(main)).log_path
        await until(lambda: len(numbers(log)) > 2)
        request = pb.CheckpointContainerRequest(
            container_id=main, location=str(tmp_path / "given-up.tar")
        )
        for timeout_s in (0.02, 0.1, 0.3):
            with contextlib.suppress(GRPCError, TimeoutError, StreamTerminatedError):
                await cri.runtime.checkpoint_container(request, timeout=timeout_s)
        request.location = str(tmp_path / "killed.tar")

        async def kill() -> None:
            await until(lambda: frozen(daemon, main))
            await daemon.kill9()

        answer, _ = await asyncio.gather(
            cri.runtime.checkpoint_container(request), kill(), return_exceptions=True
        )
        assert isinstance(answer, GRPCError | StreamTerminatedError), answer
    await daemon.start()
    async with cri_client(daemon.socket("cri"), daemon.root / "pods") as cri:
        seen = len(numbers(log))
        await until(lambda: len(numbers(log)) > seen)
        assert names(tmp_path) == []
        assert "checkpoint" not in names(daemon.root / "state/containers/k8s.io" / main)
        await checkpoint(cri, main, tmp_path / "whole.tar")
        await cri.remove_pod(id)


def shows(log: str, text: str) -> bool:
    return text in read(log)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def frozen(daemon: DaemonUnderTest, id: str) -> bool:
    """By either version of cgroups, in a scope or not."""
    for root, _, files in os.walk("/sys/fs/cgroup"):
        if id in root:
            if "freezer.state" in files and read(f"{root}/freezer.state").strip() == "FROZEN":
                return True
            if "cgroup.freeze" in files and read(f"{root}/cgroup.freeze").strip() == "1":
                return True
    return False
