"""kill -9 in the middle of things, and what the next start finds."""

import asyncio
import sys
from pathlib import Path

import pytest

from sharedrt.model.faults import NotFound, ResourceExhausted
from tests.real.flaky_proxy import FlakyProxy, Rule
from tests.real.oci_images import MadeImage, layer_tar, publish, sha256
from tests.real.registry import RegistryUnderTest, run
from tests.services.images.rig import A, B, Rig, running_rig

pytestmark = pytest.mark.real

MADE = MadeImage(
    [layer_tar({"small": b"s"}), layer_tar({"big": bytes(range(256)) * 8000})], compressions=[""]
)


async def start_pull(root: Path, reference: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.services.images.pull_until_killed",
        str(root),
        reference,
        stdout=asyncio.subprocess.PIPE,
    )


def _has_entries(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


async def test_killed_while_downloading(
    tmp_path: Path, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    await publish(registry.url, "app", "1", MADE)
    big = sha256(MADE.layer_blobs[1])
    proxy.rules = [Rule(f"GET .*{big}", stall_after=1_900_000)]
    process = await start_pull(tmp_path / "rig", f"{proxy.authority}/app:1")
    layers = tmp_path / "rig" / "snapshots" / "layers"
    async with asyncio.timeout(30):
        # The small layer is unpacked, the big one under way.
        # Made by another process, so that looking again is all there is.
        while not await asyncio.to_thread(_has_entries, layers):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
    process.kill()
    await process.wait()

    async with running_rig(tmp_path / "rig") as rig:
        assert [k for k in await rig.leftovers() if "rows" in k or " of " in k] == []
        await rig.collect()
        assert await rig.leftovers() == {}
        assert len(rig.partial_ingests()) == 1
        image = await (await rig.within(A)).pull(f"{proxy.authority}/app:1")
        assert image.id == MADE.id
        ranges = [seen.range for seen in proxy.seen if big in seen.path and seen.method == "GET"]
        assert ranges[0] == ""
        assert int(ranges[1].removeprefix("bytes=").removesuffix("-")) > 1_000_000
        assert rig.partial_ingests() == []


async def test_killed_after_the_pull(tmp_path: Path, registry: RegistryUnderTest) -> None:
    await publish(registry.url, "app", "1", MADE)
    process = await start_pull(tmp_path / "rig", f"{registry.authority}/app:1")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"pulled\n"
    process.kill()
    await process.wait()
    async with running_rig(tmp_path / "rig") as rig:
        await rig.collect()
        images = await rig.within(A)
        assert images.get(f"{registry.authority}/app:1").id == MADE.id
        assert len(await rig.snapshotter.layers_on_disk()) == 2


async def test_proof_outlives_a_restart(
    rig: Rig, proxy: FlakyProxy, registry: RegistryUnderTest
) -> None:
    await publish(registry.url, "app", "1", MADE)
    await (await rig.within(A)).pull(f"{proxy.authority}/app:1")
    await rig.stop()
    await rig.start()
    await rig.within(A)
    before = proxy.count("GET .*/blobs/")
    image = await (await rig.within(B)).pull(f"{proxy.authority}/app:1")
    assert proxy.count("GET .*/blobs/") == before
    assert image.unpacked_size_bytes > 2_000_000


async def test_a_full_disk_leaves_nothing(tmp_path: Path, registry: RegistryUnderTest) -> None:
    await publish(registry.url, "app", "1", MADE)
    content = tmp_path / "rig" / "content"
    await asyncio.to_thread(content.mkdir, parents=True)
    await run("mount", "-t", "tmpfs", "-o", "size=1m", "full", content)
    try:
        async with running_rig(tmp_path / "rig") as rig:
            images = await rig.within(A)
            with pytest.raises(ResourceExhausted, match="disk"):
                await images.pull(f"{registry.authority}/app:1")
            assert await rig.leftovers() == {}
            await rig.content.discard_ingests(idle_s=0)
            assert rig.partial_ingests() == []
        await run("umount", content)  # nobody has a file open
    except BaseException:
        await run("umount", "--lazy", content)
        raise


async def test_a_damaged_image_is_left_out_and_can_be_mended_or_removed(
    rig: Rig, registry: RegistryUnderTest
) -> None:
    await publish(registry.url, "app", "1", MADE)
    name = f"{registry.authority}/app:1"
    image = await (await rig.within(A)).pull(name)
    for mend in (True, False):
        await rig.content.delete(image.id)
        await rig.stop()
        await rig.start()
        images = await rig.within(A)
        assert images.list() == []
        with pytest.raises(NotFound):
            images.get(name)
        await images.gc(grace_s=0)
        if mend:
            assert (await images.pull(name)).id == image.id
        else:
            assert len(await images.remove_by_id(image.id)) == 2
            await images.gc(grace_s=0)
            assert await rig.leftovers() == {}
