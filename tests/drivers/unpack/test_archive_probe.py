"""What ADD takes for an archive."""

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.drivers.unpack.archive_probe import is_archive


def tar(name: str = "a") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tar(), True),
        (gzip.compress(tar(), mtime=0), True),
        (bz2.compress(tar()), True),
        (lzma.compress(tar()), True),
        (zstandard.compress(tar()), True),
        (b"", False),
        (b"text", False),
        (bytes(1024), False),
        (gzip.compress(b"text" * 500, mtime=0), False),
        (gzip.compress(tar(), mtime=0)[:30], False),
        (b"BZh" + b"x" * 100, False),
        (b"\x28\xb5\x2f\xfd" + b"x" * 100, False),
        (tar().replace(b"0", b"1"), False),
    ],
)
def test_archives(tmp_path: Path, data: bytes, expected: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert is_archive(str(path)) is expected


@given(st.binary(max_size=600), st.sampled_from([b"", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0"]))
def test_garbage(data: bytes, magic: bytes) -> None:
    path = Path("/dev/shm") / f"probe-{id(data)}"
    path.write_bytes(magic + data)
    try:
        is_archive(str(path))
    finally:
        path.unlink()
