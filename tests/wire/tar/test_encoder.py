"""What the encoder writes, the decoder and Python's tarfile read as the same."""

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.tar.encoder import END_OF_ARCHIVE, encode_header, padding
from sharedrt.wire.tar.entry import Kind, TarEntry
from tests.wire.tar.archives import decode

_name = st.binary(min_size=1, max_size=300).filter(
    lambda b: b"\0" not in b and not b.endswith(b"/")
)


@st.composite
def _entries(draw: st.DrawFn) -> tuple[TarEntry, bytes]:
    kind = draw(st.sampled_from(list(Kind)))
    data = draw(st.binary(max_size=1200)) if kind is Kind.FILE else b""
    linked = kind in (Kind.HARDLINK, Kind.SYMLINK)
    device = kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
    entry = TarEntry(
        name=draw(_name) + (b"/" if kind is Kind.FOLDER else b""),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.integers(0, (1 << 32) - 2)),
        gid=draw(st.integers(0, (1 << 32) - 2)),
        size=len(data),
        mtime_ns=draw(st.integers(-(1 << 62), 1 << 62)),
        link=draw(_name) if linked else b"",
        major=draw(st.integers(0, 4095)) if device else 0,
        minor=draw(st.integers(0, (1 << 20) - 1)) if device else 0,
        xattrs=draw(
            st.dictionaries(
                st.binary(min_size=1, max_size=20).filter(lambda b: b"=" not in b),
                st.binary(max_size=200),
            )
        ),
    )
    return entry, data


@given(st.lists(_entries(), max_size=4))
def test_round_trip(members: list[tuple[TarEntry, bytes]]) -> None:
    archive = b"".join(encode_header(entry) + data + padding(len(data)) for entry, data in members)
    found = decode(archive + END_OF_ARCHIVE)
    assert [(entry, b"".join(pieces.values())) for entry, pieces in found] == members


def test_tarfile_reads_it() -> None:
    entry = TarEntry(
        "dir/ü".encode() * 40, Kind.FILE, mode=0o4755, uid=1 << 30, size=3, mtime_ns=1_500_000_001
    )
    archive = encode_header(entry) + b"abc" + padding(3) + END_OF_ARCHIVE
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        (member,) = opened.getmembers()
        assert member.name == "dir/ü" * 40
        assert (member.mode, member.uid, member.size) == (0o4755, 1 << 30, 3)
        assert member.pax_headers["mtime"] == "1.500000001"
        file = opened.extractfile(member)
        assert file is not None
        assert file.read() == b"abc"


def test_plain_entries_need_no_pax_header() -> None:
    entry = TarEntry(b"etc/passwd", Kind.FILE, size=0, mtime_ns=1_000_000_000)
    assert len(encode_header(entry)) == 512
