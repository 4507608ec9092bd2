"""Archives of Python's tarfile and of GNU tar, cut anywhere, damaged anyhow."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedrt.model.faults import DataLoss, InvalidArgument, ResourceExhausted
from sharedrt.wire.tar.decoder import TarDecoder
from sharedrt.wire.tar.entry import Kind
from sharedrt.wire.tar.pax import format_record
from tests.wire.tar.archives import content, decode, gnu_tar

_TYPES = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARDLINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.CHRTYPE: Kind.CHARACTER_DEVICE,
    tarfile.BLKTYPE: Kind.BLOCK_DEVICE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.FIFOTYPE: Kind.FIFO,
}
_name = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
_path = st.lists(_name, min_size=1, max_size=12).map("/".join)


@st.composite
def _members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(_path))
    info.type = draw(st.sampled_from(list(_TYPES)))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid = draw(st.integers(0, 0o7777777))
    info.gid = draw(st.integers(0, 0o7777777))
    info.mtime = draw(st.integers(0, 0o77777777777))
    if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        info.linkname = draw(_path)
    if info.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, 1 << 20))
    data = draw(st.binary(max_size=1500)) if info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


def _archive(members: list[tuple[tarfile.TarInfo, bytes]], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@given(
    st.lists(_members(), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.lists(st.integers(0, 1 << 16), max_size=40),
)
def test_reads_what_tarfile_writes_however_it_is_cut(
    members: list[tuple[tarfile.TarInfo, bytes]], form: int, cuts: list[int]
) -> None:
    found = decode(_archive(members, form), cuts)
    assert len(found) == len(members)
    for (entry, pieces), (info, data) in zip(found, members, strict=True):
        assert entry.kind is _TYPES[info.type]
        assert entry.name.rstrip(b"/") == info.name.encode()
        assert entry.link == info.linkname.encode()
        assert (entry.mode, entry.uid, entry.gid) == (info.mode, info.uid, info.gid)
        assert entry.mtime_ns == info.mtime * 1_000_000_000
        assert (entry.major, entry.minor) == (info.devmajor, info.devminor)
        assert content(entry, pieces) == data


def test_every_byte_alone() -> None:
    archive = _archive([(_file("a" * 300, 700), b"x" * 700)], tarfile.GNU_FORMAT)
    ((entry, pieces),) = decode(archive, list(range(len(archive))))
    assert entry.name == b"a" * 300
    assert pieces == {0: b"x" * 700}


def _file(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


_SAMPLE = _archive(
    [(_file("f" * 120, 1000), b"x" * 1000), (_file("g", 3), b"abc")], tarfile.PAX_FORMAT
)


@settings(max_examples=400)
@given(st.integers(0, len(_SAMPLE) - 1), st.binary(min_size=1, max_size=600), st.booleans())
def test_damage_raises_documented_faults_only(at: int, garbage: bytes, mend: bool) -> None:
    damaged = bytearray(_SAMPLE)
    damaged[at : at + len(garbage)] = garbage
    if mend:  # so that the damage is read at all
        for start in range(0, len(damaged) - 511, 512):
            block = damaged[start : start + 512]
            block[148:156] = b" " * 8
            damaged[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try:
        decode(bytes(damaged))
    except (DataLoss, InvalidArgument, ResourceExhausted):
        return


@given(st.binary(max_size=2000))
def test_garbage(garbage: bytes) -> None:
    try:
        found = decode(garbage)
    except (DataLoss, InvalidArgument, ResourceExhausted):
        return
    assert not garbage.strip(b"\0") or found


@given(st.integers(1, len(_SAMPLE) - 1))
def test_truncated(length: int) -> None:
    whole = len(decode(_SAMPLE))
    # After the first member's data, whose padding may be missing (the pax header and its member belong together).
    first = 512 * 3 + 1000  # pax header, its data, header, data
    clean = range(first, 512 * 5 + 1)
    try:
        found = decode(_SAMPLE[:length])
    except DataLoss:
        return
    assert len(found) == whole or (len(found) == 1 and length in clean)


def test_what_follows_the_end_is_ignored() -> None:
    assert decode(_SAMPLE + b"garbage" * 100) == decode(_SAMPLE)
    decoder = TarDecoder()
    decoder.receive_data(_SAMPLE)
    assert decoder.receive_data(b"more") == []
    decoder.receive_eof()


def test_a_lone_zero_block_is_damage() -> None:
    with pytest.raises(DataLoss, match="zero block"):
        decode(bytes(512) + _SAMPLE)


def test_global_records_hold_until_taken_back() -> None:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "12.5"}
    ) as archive:
        archive.addfile(tarfile.TarInfo("global"))
        own = tarfile.TarInfo("own")
        own.pax_headers = {"mtime": "7.25"}
        archive.addfile(own)
    entries = [entry for entry, _ in decode(out.getvalue())]
    assert [entry.mtime_ns for entry in entries] == [12_500_000_000, 7_250_000_000]


def test_base_256() -> None:
    info = _file("big", 0)
    info.uid = 4_000_000_000
    info.mtime = -5
    ((entry, _),) = decode(_archive([(info, b"")], tarfile.GNU_FORMAT))
    assert entry.uid == 4_000_000_000
    assert entry.mtime_ns == -5_000_000_000


def test_xattrs_of_both_dialects() -> None:
    info = _file("f", 0)
    info.pax_headers = {
        "SCHILY.xattr.user.a": "raw=\n",
        "LIBARCHIVE.xattr.user.a": "aWdub3JlZA",
        "LIBARCHIVE.xattr.user.b%20c": "Yng",
    }
    ((entry, _),) = decode(_archive([(info, b"")], tarfile.PAX_FORMAT))
    assert entry.xattrs == {b"user.a": b"raw=\n", b"user.b c": b"bx"}


def test_unknown_types_are_refused_by_name() -> None:
    info = _file("volume", 0)
    info.type = b"V"
    with pytest.raises(InvalidArgument, match=r"volume.*b'V'"):
        decode(_archive([(info, b"")], tarfile.GNU_FORMAT))


def test_extended_headers_are_bounded() -> None:
    info = _file("f", 0)
    info.pax_headers = {"comment": "x" * 5000}
    archive = _archive([(info, b"")], tarfile.PAX_FORMAT)
    with pytest.raises(ResourceExhausted, match="5"):
        TarDecoder(max_extended=4096).receive_data(archive)


@pytest.mark.parametrize(
    "records",
    [
        b"5 a=b\n",
        b"a=b\n",
        b"99 a=b\n",
        b"6 a\nbc\n",
        b"7 path=\n",
        b"0 a=b\n",
        format_record(b"size", b"-1"),
        format_record(b"mtime", b"now"),
        format_record(b"uid", b"0x1"),
        format_record(b"GNU.sparse.map", b"0,1,2") + format_record(b"GNU.sparse.size", b"9"),
        format_record(b"GNU.sparse.map", b"5,5,0,5") + format_record(b"GNU.sparse.size", b"10"),
        format_record(b"GNU.sparse.map", b"0,1"),
        format_record(b"GNU.sparse.major", b"2"),
        format_record(b"path", b"a\0b"),
    ],
)
def test_malformed_records(records: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    archive = info.tobuf() + records.ljust(-len(records) % 512 + len(records), b"\0")
    archive += _file("f", 0).tobuf() + bytes(1024)
    with pytest.raises(DataLoss):
        decode(archive)


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu",),
        ("--format=pax", "--sparse-version=0.0"),
        ("--format=pax", "--sparse-version=0.1"),
        ("--format=pax", "--sparse-version=1.0"),
    ],
)
@pytest.mark.parametrize("parts", [0, 1, 3, 60])
def test_sparse_files_of_gnu_tar(tmp_path: Path, options: tuple[str, ...], parts: int) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for number in range(parts):
            file.seek(number * 65536 + 8192)
            file.write(b"%d" % number * 100)
        file.truncate(parts * 65536 + 1_000_000)
    (tmp_path / "plain").write_bytes(b"plain")
    archive = gnu_tar(tmp_path, "--sparse", *options)
    found = {entry.name: (entry, pieces) for entry, pieces in decode(archive, [700, 1500, 1501])}
    entry, pieces = found[b"./sparse"]
    assert entry.sparse
    assert content(entry, pieces) == (tmp_path / "sparse").read_bytes()
    assert sum(map(len, pieces.values())) <= parts * 8192
    assert found[b"./plain"][1] == {0: b"plain"}


@pytest.mark.parametrize("form", ["v7", "ustar", "oldgnu", "gnu", "pax"])
def test_formats_of_gnu_tar(tmp_path: Path, form: str) -> None:
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "folder" / "file").write_bytes(b"content" * 1000)
    os.symlink("folder/file", tmp_path / "link")
    os.link(tmp_path / "folder" / "file", tmp_path / "same")
    found = {
        entry.name: (entry, data) for entry, data in decode(gnu_tar(tmp_path, f"--format={form}"))
    }
    assert found[b"./folder/"][0].kind is Kind.FOLDER
    assert found[b"./folder/"][0].mode == 0o750
    assert found[b"./folder/file"][1] == {0: b"content" * 1000}
    assert found[b"./link"][0].link == b"folder/file"
    assert found[b"./same"][0].kind is Kind.HARDLINK
    info = (tmp_path / "folder" / "file").stat()
    seconds = info.st_mtime_ns if form == "pax" else info.st_mtime_ns // 10**9 * 10**9
    assert found[b"./folder/file"][0].mtime_ns == seconds
