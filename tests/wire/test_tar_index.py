"""Archives as tar writes them, and hostile ones."""

import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import DataLoss, InvalidArgument
from sharedrt.wire.tar_index import TarIndex, index_tar


def index(data: bytes, **bounds: int) -> TarIndex:
    return index_tar(lambda offset, length: data[offset : offset + length], len(data), **bounds)


def content(data: bytes, name: str) -> bytes:
    member = index(data).get(name)
    return data[member.offset : member.offset + member.size]


def archive(*members: tarfile.TarInfo, format: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(member.name.encode()[: member.size].ljust(member.size)))
    return buffer.getvalue()


def file(name: str, size: int = 3) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_finds_files(format: int) -> None:
    long = "d/" * 60 + "file"
    data = archive(file("./a//b"), file(long, 1000), link("l", "a/b"), format=format)
    assert content(data, "a/b") == b"./a"
    assert content(data, long) == long.encode().ljust(1000)
    assert content(data, "l") == b"./a"
    assert "a/b" in index(data)
    assert "nope" not in index(data)


def test_links_stay_inside() -> None:
    data = archive(file("x/layer.tar"), link("y/layer.tar", "../x/layer.tar"))
    assert content(data, "y/layer.tar") == b"x/l"
    data = archive(file("a"), link("b", "a", tarfile.LNKTYPE), link("loop", "loop"))
    assert content(data, "b") == b"a  "
    with pytest.raises(InvalidArgument):
        index(data).get("loop")


@pytest.mark.parametrize(
    "member",
    [
        file("../x"),
        file("/etc/passwd"),
        file("a/../../x"),
        link("a", "/etc/passwd"),
        link("a", "../../etc/passwd"),
        link("a", "../x", tarfile.LNKTYPE),
    ],
)
def test_hostile_names(member: tarfile.TarInfo) -> None:
    with pytest.raises(InvalidArgument):
        index(archive(file("ok"), member))


def test_bounds() -> None:
    with pytest.raises(InvalidArgument, match="entries"):
        index(archive(*(file(f"f{n}") for n in range(5))), max_entries=4)
    with pytest.raises(InvalidArgument, match="header"):
        index(archive(file("n" * (2 << 20))))
    with pytest.raises(InvalidArgument, match="cut short"):
        index(archive(file("a", 5000))[:2000])
    sparse = file("s")
    sparse.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(InvalidArgument, match="sparse"):
        index(archive(sparse))


@pytest.mark.parametrize("data", [b"", b"garbage\n", b"x" * 600, b"\0" * 1024])
def test_no_archives(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        index(data)


@given(st.binary(min_size=0, max_size=40), st.integers(0, 1023))
def test_damage_raises_only_faults(damage: bytes, at: int) -> None:
    data = bytearray(archive(file("a"), file("b" * 120), format=tarfile.PAX_FORMAT))
    data[at : at + len(damage)] = damage
    with suppress(InvalidArgument, DataLoss):
        index(bytes(data))
