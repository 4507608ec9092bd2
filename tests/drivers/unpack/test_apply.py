"""Layers unpacked by real workers: what arrives, and what is refused."""

# ruff: noqa: ASYNC110, ASYNC240 - tests look at small files and at processes

import asyncio
import contextlib
import gzip
import hashlib
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from sharedrt.drivers.unpack import zygote
from sharedrt.drivers.unpack.streams import LayerStream
from sharedrt.drivers.unpack.unpacker import ChrootUnpacker
from sharedrt.model.drivers import LayerResult
from sharedrt.model.faults import (
    DataLoss,
    Fault,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from tests.wire.tar.archives import gnu_tar

pytestmark = pytest.mark.real

TAR = "application/vnd.oci.image.layer.v1.tar"
Member = tuple[tarfile.TarInfo, bytes]
Apply = Callable[..., Awaitable[LayerResult]]


def member(
    name: str,
    data: bytes = b"",
    type: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    owner: tuple[int, int] = (0, 0),
    mtime: float = 1_000_000_000,
    pax: dict[str, str] | None = None,
) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = type, mode, link, len(data)
    info.devmajor, info.devminor = device
    info.uid, info.gid = owner
    info.mtime = mtime
    info.pax_headers = pax or {}
    return info, data


def folder(
    name: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0), mtime: float = 1_000_000_000
) -> Member:
    return member(name, type=tarfile.DIRTYPE, mode=mode, owner=owner, mtime=mtime)


def link(name: str, target: str) -> Member:
    return member(name, type=tarfile.SYMTYPE, link=target)


def hardlink(name: str, target: str) -> Member:
    return member(name, type=tarfile.LNKTYPE, link=target)


def archive(*members: Member) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as opened:
        for info, data in members:
            opened.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
async def unpacker() -> AsyncIterator[ChrootUnpacker]:
    driver = ChrootUnpacker(max_entries=1000, max_bytes=64 << 20)
    yield driver
    await driver.aclose()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("untouched")
    path = tmp_path / "target"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def apply(unpacker: ChrootUnpacker, target: Path, tmp_path: Path) -> Apply:
    async def call(*members: Member, raw: bytes | None = None) -> LayerResult:
        blob = tmp_path / "blob"
        blob.write_bytes(archive(*members) if raw is None else raw)
        try:
            return await unpacker.apply(blob, TAR, target)
        finally:
            assert sorted(os.listdir(tmp_path)) == ["blob", "outside", "target"]
            assert (tmp_path / "outside").read_text() == "untouched"

    return call


def is_whiteout(path: Path) -> bool:
    info = os.lstat(path)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize(
    "compress",
    [
        bytes,
        gzip.compress,
        lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]) + bytes(100),
        zstandard.ZstdCompressor().compress,
        lambda data: (
            zstandard.compress(data[:999])
            + b"\x50\x2a\x4d\x18\x01\0\0\0x"
            + zstandard.compress(data[999:])
        ),
    ],
    ids=["plain", "gzip", "gzip members and padding", "zstd", "zstd frames"],
)
async def test_compressions(apply: Apply, target: Path, compress: Callable[[bytes], bytes]) -> None:
    data = os.urandom(1 << 20) + bytes(5 << 20)
    tar = archive(member("file", data))
    result = await apply(raw=compress(tar))
    assert (target / "file").read_bytes() == data
    assert result.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert result.inodes == 2
    assert result.size_bytes >= len(data)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
async def test_truncated(apply: Apply, compress: Callable[[bytes], bytes]) -> None:
    blob = compress(archive(member("file", os.urandom(100_000))))
    for length in (10, 300, len(blob) // 2, len(blob) - 11_000):
        with pytest.raises(DataLoss):
            await apply(raw=blob[:length])


@pytest.mark.parametrize(
    "compress", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress]
)
async def test_corrupt(apply: Apply, compress: Callable[[bytes], bytes]) -> None:
    blob = bytearray(compress(archive(member("file", os.urandom(100_000)))))
    blob[len(blob) // 2] ^= 0x10
    with pytest.raises(DataLoss):
        await apply(raw=bytes(blob))


async def test_no_archive(apply: Apply) -> None:
    with pytest.raises(DataLoss):
        await apply(raw=b"<html>" * 1000)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor().compress])
async def test_bombs(apply: Apply, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ResourceExhausted, match="67108864"):
        await apply(raw=compress(bytes(65 << 20)))


async def test_media_types(unpacker: ChrootUnpacker, target: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(archive())
    for good in (
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ):
        await unpacker.apply(tmp_path / "blob", good, target)
    for bad in (f"{TAR}+encrypted", "application/vnd.in-toto+json", ""):
        with pytest.raises(Unimplemented):
            await unpacker.apply(tmp_path / "blob", bad, target)
    with pytest.raises(NotFound):
        await unpacker.apply(tmp_path / "no blob", TAR, target)
    with pytest.raises(NotFound):
        await unpacker.apply(tmp_path / "blob", TAR, tmp_path / "no target")


async def test_progress(unpacker: ChrootUnpacker, target: Path, tmp_path: Path) -> None:
    blob = archive(member("file", os.urandom(20 << 20)))
    (tmp_path / "blob").write_bytes(blob)
    seen: list[int] = []
    await unpacker.apply(tmp_path / "blob", TAR, target, progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] <= len(blob)


# ---------------------------------------------------------------- entries


async def test_metadata(apply: Apply, target: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    await apply(
        folder("dir", 0o2750, owner=(1, 2), mtime=111),
        member("dir/suid", b"x", mode=0o6755, owner=(3, 4), mtime=222),
        member("dir/root", b"x"),
        member(
            "cap",
            b"x",
            pax={
                "SCHILY.xattr.security.capability": capability.decode("latin-1"),
                "hdrcharset": "BINARY",
            },
        ),
        member("own", b"x", mtime=5.123456789, pax={"SCHILY.xattr.user.note": "hello"}),
        link("link", "no/where"),
        member("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        member("null", type=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
        member("loop", type=tarfile.BLKTYPE, mode=0o660, device=(7, 300)),
    )
    info = (target / "dir").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime) == (
        0o2750,
        1,
        2,
        111,
    )
    info = (target / "dir/suid").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime) == (
        0o6755,
        3,
        4,
        222,
    )
    assert (target / "dir/root").stat().st_gid == 0  # not the set-gid folder's
    assert os.getxattr(target / "cap", "security.capability") == capability
    assert os.getxattr(target / "own", "user.note") == b"hello"
    assert (target / "own").stat().st_mtime_ns == 5_123_456_789
    assert os.readlink(target / "link") == "no/where"
    assert stat.S_ISFIFO(os.lstat(target / "pipe").st_mode)
    assert os.lstat(target / "null").st_rdev == os.makedev(1, 3)
    assert os.lstat(target / "loop").st_rdev == os.makedev(7, 300)
    assert stat.S_IMODE(os.lstat(target / "null").st_mode) == 0o666


async def test_names(apply: Apply, target: Path) -> None:
    long = "/".join(["n" * 120] * 8)
    await apply(
        member("./dotted", b"1"),
        member("/absolute", b"2"),
        member("a//b/./c", b"3"),
        member(long, b"4"),
        member("sp ace\nü", b"5"),
        folder("./", mode=0o711),
    )
    assert (target / "dotted").read_bytes() == b"1"
    assert (target / "absolute").read_bytes() == b"2"
    assert (target / "a/b/c").read_bytes() == b"3"
    assert (target / long).read_bytes() == b"4"
    assert (target / "sp ace\nü").read_bytes() == b"5"
    assert stat.S_IMODE(target.stat().st_mode) == 0o711
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o755


async def test_folders_keep_their_times(apply: Apply, target: Path) -> None:
    await apply(
        folder("dir", mtime=77),
        member("dir/file"),
        folder("dir/sub", mtime=78),
        member("dir/sub/file"),
    )
    assert (target / "dir").stat().st_mtime == 77
    assert (target / "dir/sub").stat().st_mtime == 78


async def test_hard_links(apply: Apply, target: Path) -> None:
    await apply(
        member("one", b"data"),
        hardlink("two", "one"),
        hardlink("dir/three", "./one"),
        link("sym", "one"),
        hardlink("symtwo", "sym"),
        member("old", b"old"),
        hardlink("old", "one"),
        hardlink("one", "one"),
    )
    inode = (target / "one").stat().st_ino
    assert (target / "one").read_bytes() == b"data"
    assert {(target / name).stat().st_ino for name in ("two", "dir/three", "old")} == {inode}
    assert os.path.islink(target / "symtwo")


async def test_later_entries_replace_earlier(apply: Apply, target: Path) -> None:
    await apply(
        member("file-to-dir", b"x"),
        folder("file-to-dir"),
        member("file-to-dir/in", b"x"),
        folder("dir-to-file"),
        member("dir-to-file/deep/in", b"x"),
        member("dir-to-file", b"now a file"),
        link("link-to-file", "file-to-dir"),
        member("link-to-file", b"own"),
        link("link-to-dir", "file-to-dir"),
        folder("link-to-dir"),
        member("link-to-dir/in", b"y"),
        member("twice", b"a longer first"),
        member("twice", b"second"),
        folder("kept", mode=0o700),
        member("kept/in", b"x"),
        folder("kept", mode=0o711),
    )
    assert (target / "file-to-dir/in").read_bytes() == b"x"
    assert (target / "dir-to-file").read_bytes() == b"now a file"
    assert (target / "link-to-file").read_bytes() == b"own"
    assert not os.path.islink(target / "link-to-dir")
    assert (target / "link-to-dir/in").read_bytes() == b"y"
    assert (target / "twice").read_bytes() == b"second"
    assert (target / "kept/in").exists()
    assert stat.S_IMODE((target / "kept").stat().st_mode) == 0o711


async def test_sparse_stays_sparse(
    apply: Apply, target: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("source")
    with (source / "sparse").open("wb") as file:
        file.seek(30 << 20)
        file.write(b"end")
        file.truncate(1 << 30)
    await apply(raw=gnu_tar(source, "--sparse", "--format=pax"))
    info = (target / "sparse").stat()
    assert info.st_size == 1 << 30
    assert info.st_blocks * 512 < 1 << 20
    with (target / "sparse").open("rb") as file:
        file.seek(30 << 20)
        assert file.read(3) == b"end"


async def test_whiteouts(apply: Apply, target: Path) -> None:
    await apply(
        member(".wh.gone"),
        member("dir/.wh.gone"),
        member("dir/.wh..wh..opq"),
        member(".wh..wh.plnk"),
        member(".wh..wh.aufs"),
        # An own entry beats the whiteout, in either order; an own folder must not show the lower one's files.
        member(".wh.file"),
        member("file", b"own"),
        member("late", b"own"),
        member(".wh.late"),
        member(".wh.before"),
        folder("before"),
        folder("after"),
        member(".wh.after"),
        member(".wh.implied"),
        member("implied/file", b"own"),
    )
    assert is_whiteout(target / "gone")
    assert is_whiteout(target / "dir/gone")
    assert (target / "file").read_bytes() == b"own"
    assert (target / "late").read_bytes() == b"own"
    for name in ("dir", "before", "after", "implied"):
        assert is_opaque(target / name), name
        assert os.getxattr(target / name, "trusted.overlay.opaque") == b"y"
    assert not [name for name in os.listdir(target) if name.startswith(".wh.")]
    assert not is_opaque(target)


async def test_an_opaque_root(apply: Apply, target: Path) -> None:
    await apply(member(".wh..wh..opq"))
    assert is_opaque(target)


async def test_links_resolve_inside(apply: Apply, target: Path, tmp_path: Path) -> None:
    await apply(
        folder("real"),
        link("inside", "/real"),
        member("inside/file", b"x"),
        link("up", "../../../../../../real"),
        member("up/other", b"y"),
    )
    assert (target / "real/file").read_bytes() == b"x"
    assert (target / "real/other").read_bytes() == b"y"


async def test_attributes_of_the_building_host_are_left_out(apply: Apply, target: Path) -> None:
    await apply(
        member(
            "file",
            pax={
                "SCHILY.xattr.security.selinux": "system_u:object_r:x_t:s0",
                "SCHILY.xattr.com.apple.quarantine": "x",
                "SCHILY.xattr.trusted.note": "kept",
            },
        )
    )
    assert os.listxattr(target / "file") == ["trusted.note"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside", b"pwned")],
        [member("a/../../outside", b"pwned")],
        [member("..", b"pwned")],
        [link("l", "../outside"), hardlink("h", "../outside")],
        [hardlink("h", "absent")],
        [hardlink("h", "/etc/passwd")],
        [folder("d"), hardlink("h", "d")],
        [member("f"), member("f/under")],
        [link("loop", "loop"), member("loop/x")],
        [link("out", ".."), link("out/x", "y"), member("dangling/.wh...")],
        [link("dangling", "absent"), member("dangling/x")],
        [member("n" * 256)],
        [member("/".join(["n" * 200] * 30))],
        [member(".", b"root as a file")],
        [link("./", "elsewhere")],
        [member("d", type=tarfile.CHRTYPE, device=(4096, 0))],
        [member("f", pax={"SCHILY.xattr.trusted.overlay.redirect": "/etc"})],
        [folder("d"), member("f", pax={"SCHILY.xattr.trusted.overlay.opaque": "y"})],
        [member(".wh.")],
        [member(".wh...")],
        [member("f", owner=(1 << 33, 0))],
        [member("v", type=b"V")],
        [link("empty", "")],
    ],
    ids=lambda members: members[-1][0].name[:20],
)
async def test_hostile_entries(apply: Apply, members: list[Member]) -> None:
    with pytest.raises(InvalidArgument):
        await apply(*members)


async def test_entries_are_bounded(apply: Apply) -> None:
    await apply(*(member(f"f{number}") for number in range(1000)))
    with pytest.raises(ResourceExhausted, match="1000"):
        await apply(*(member(f"f{number}") for number in range(1001)))


async def test_disk_full(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    image, point = tmp_path / "disk", tmp_path / "point"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    await run("mkfs.ext4", "-q", str(image))
    await run("mount", "-o", "loop", str(image), str(point))
    try:
        (tmp_path / "blob").write_bytes(archive(member("big", os.urandom(16 << 20))))
        with pytest.raises(ResourceExhausted, match="big"):
            await unpacker.apply(tmp_path / "blob", TAR, point)
    finally:
        await run("umount", str(point))


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


# ---------------------------------------------------------------- processes


def _children(parent: int) -> list[int]:
    """Those that live: one that has ended is its parent's to reap at its leisure."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{name}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"\nPPid:\t{parent}\n" in status and "\nState:\tZ" not in status:
            found.append(int(name))
    return found


async def test_a_start_that_is_cancelled_leaves_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    spawn = zygote._spawn

    def spawned() -> "tuple[subprocess.Popen[bytes], socket.socket]":
        made.append(spawn())
        return made[-1]

    monkeypatch.setattr(zygote, "_spawn", spawned)
    start = asyncio.get_running_loop().create_task(zygote.Zygote.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert [process.returncode for process, _ in made] == [0]
    assert [control.fileno() for _, control in made] == [-1]


def test_any_failure_of_a_decompressor_reaches_who_reads(tmp_path: Path) -> None:
    def decompress(source: Iterator[bytes]) -> Iterator[bytes]:
        yield next(source)
        raise RuntimeError("a bug")

    (tmp_path / "blob").write_bytes(b"data")
    with (tmp_path / "blob").open("rb") as blob:
        stream = LayerStream(blob.fileno(), 1 << 20, lambda _: None)
        stream._decompress = decompress
        chunks = stream.chunks()
        assert next(chunks) == b"data"
        with pytest.raises(RuntimeError, match="a bug"):
            next(chunks)


async def test_a_call_that_is_cancelled_early_leaves_nothing_open(
    target: Path, tmp_path: Path
) -> None:
    unpacker = ChrootUnpacker()
    blob = tmp_path / "blob"
    blob.write_bytes(archive(member("file")))
    await unpacker.apply(blob, TAR, target)
    for turns in range(8):
        for call in (unpacker.apply(blob, TAR, target), unpacker.diff(target, _forget)):
            task = asyncio.get_running_loop().create_task(call)
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert _open_below(tmp_path) == [], turns
    await unpacker.aclose()


async def _forget(_: bytes) -> None: ...


def _open_below(folder: Path) -> list[str]:
    """Our descriptors of files there."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [path for path in found if Path(path).is_relative_to(folder)]


async def test_confinement_cancellation_and_death(target: Path, tmp_path: Path) -> None:
    unpacker = ChrootUnpacker(max_bytes=1 << 50)
    good, endless = tmp_path / "good", tmp_path / "endless"
    good.write_bytes(archive(member("file")))
    endless.write_bytes(archive(member("file")))
    os.truncate(endless, 1 << 43)  # read to its end for the digest, after the archive's own
    await unpacker.apply(good, TAR, target)
    assert unpacker._zygote is not None
    helper = unpacker._zygote.pid

    async def begin() -> tuple["asyncio.Task[LayerResult]", int]:
        reading = asyncio.Event()
        apply = unpacker.apply(endless, TAR, target, progress=lambda _: reading.set())
        task = asyncio.get_running_loop().create_task(apply)
        await reading.wait()
        (worker,) = _children(helper)
        return task, worker

    task, worker = await begin()
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{worker}/status").read_text().splitlines()
    )
    allowed = sum(1 << number for number in (0, 1, 3, 4, 27, 31))
    for key in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[key], 16) & ~allowed == 0, key
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert os.readlink(f"/proc/{worker}/root") == str(target)
    assert os.readlink(f"/proc/{worker}/ns/net") != os.readlink("/proc/self/ns/net")
    assert len(os.listdir(f"/proc/{worker}/fd")) == 5  # standard ones, the job's socket, the blob

    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert worker not in _children(helper)
    assert unpacker._zygote.running

    # A worker that is killed (by the kernel, out of memory) is an error, and no other's.
    task, worker = await begin()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(Internal):
        await task
    await unpacker.apply(good, TAR, target)

    # So is a helper; its workers go with it, and the next call starts another.
    task, worker = await begin()
    os.kill(helper, signal.SIGKILL)
    with pytest.raises(Internal):
        await task
    assert not Path(f"/proc/{worker}/root").exists()
    await unpacker.apply(good, TAR, target)
    await unpacker.aclose()


_DAEMON = """
import asyncio, sys
from pathlib import Path
from sharedrt.drivers.unpack.unpacker import ChrootUnpacker

async def main():
    unpacker = ChrootUnpacker(max_bytes=1 << 50)
    def progress(count):
        print(unpacker._zygote.pid, flush=True)
    await unpacker.apply(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), progress=progress)

asyncio.run(main())
"""


async def test_nothing_outlives_a_killed_daemon(target: Path, tmp_path: Path) -> None:
    endless = tmp_path / "endless"
    endless.write_bytes(archive(member("file")))
    os.truncate(endless, 1 << 43)
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _DAEMON, str(endless), TAR, str(target)),
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert daemon.stdout is not None
    helper = int(await daemon.stdout.readline())
    (worker,) = _children(helper)
    daemon.kill()
    await daemon.wait()
    async with asyncio.timeout(60):
        while os.path.exists(f"/proc/{helper}") or os.path.exists(f"/proc/{worker}"):
            await asyncio.sleep(0.01)


async def test_the_helper_rests(target: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(archive())
    unpacker = ChrootUnpacker(idle_s=0.05)
    await unpacker.apply(tmp_path / "blob", TAR, target)
    first = unpacker._zygote
    assert first is not None
    await asyncio.wait_for(first.wait(), 60)
    await unpacker.apply(tmp_path / "blob", TAR, target)
    assert unpacker._zygote is not first
    await unpacker.aclose()


async def test_many_at_once(unpacker: ChrootUnpacker, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(archive(member("file", b"x" * 100_000)))
    targets = [tmp_path / f"target-{number}" for number in range(20)]
    for path in targets:
        path.mkdir()
    results = await asyncio.gather(
        *(unpacker.apply(tmp_path / "blob", TAR, path) for path in targets), return_exceptions=True
    )
    assert not [result for result in results if isinstance(result, Fault)]
    assert all((path / "file").stat().st_size == 100_000 for path in targets)
