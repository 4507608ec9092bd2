"""Checkpoint and restore, by the CRIU of this host: whole where it serves this kernel, refused in words where not."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from grpclib import GRPCError, Status

from sharedrt.pb.runtime import v1 as pb
from tests.real.clients import IMAGE, CriClient
from tests.real.daemon import DaemonUnderTest, criu
from tests.real.oci_images import layer_tar
from tests.real.test_cri import PRIVATE_PID, ended, read, secured, until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

COUNT = (
    "rm /etc/nsswitch.conf; echo kept > /kept; trap 'echo told; exit 7' TERM; i=0;"
    " while true; do i=$((i+1)); echo $i; sleep 0.1; done"
)


async def unfit() -> str:
    """Why CRIU cannot serve here, by its own check; empty when it can."""
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


async def test_a_container_goes_on_where_it_was(cri: CriClient, tmp_path: Path) -> None:
    archive = tmp_path / "count.tar"
    first, config = await pod(cri, "first")
    try:
        main = await cri.create(first, config, "main", ["sh", "-c", COUNT], linux=secured())
        await cri.start(main)
        before = (await cri.status(main)).log_path
        await until(lambda: len(numbers(before)) >= 5)
        if why := await unfit():
            with pytest.raises(GRPCError) as caught:
                await checkpoint(cri, main, archive)
            assert caught.value.status is Status.FAILED_PRECONDITION
            assert "criu" in str(caught.value.message)
            assert why == "missing" or "cannot serve this kernel: " in str(caught.value.message)
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
    second, config = await pod(cri, "second")
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
