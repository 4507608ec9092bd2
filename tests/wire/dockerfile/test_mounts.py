"""``RUN --mount`` and modes of ``--chmod``."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.dockerfile.chmod import parse_mode
from sharedrt.wire.dockerfile.errors import DockerfileError
from sharedrt.wire.dockerfile.mounts import MountType, RunMount, Sharing, parse_mount


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", RunMount(MountType.BIND, "/a", readonly=True)),
        ("dst=/a,rw,src=b,from=c", RunMount(MountType.BIND, "/a", "b", "c")),
        ("type=bind,destination=/a,readwrite=false", RunMount(MountType.BIND, "/a", readonly=True)),
        (
            "type=cache,target=/c,id=x,sharing=locked,mode=0700,uid=1,gid=2,ro",
            RunMount(
                MountType.CACHE,
                "/c",
                id="x",
                sharing=Sharing.LOCKED,
                mode=0o700,
                uid=1,
                gid=2,
                readonly=True,
            ),
        ),
        ("type=tmpfs,target=/t,size=1.5m", RunMount(MountType.TMPFS, "/t", size_bytes=1572864)),
        ("type=secret,id=s,required", RunMount(MountType.SECRET, id="s", required=True)),
        ("type=secret,target=/x/s", RunMount(MountType.SECRET, "/x/s", id="s")),
        ('type=secret,"id=a,b",env=E', RunMount(MountType.SECRET, id="a,b", env="E")),
        ("type=ssh", RunMount(MountType.SSH)),
    ],
)
def test_mounts(text: str, expected: RunMount) -> None:
    assert parse_mount(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "type=nosuch,target=/a",
        "type=bind",
        "type=cache",
        "type=tmpfs",
        "type=secret",
        "type=tmpfs,target=/a,id=x",
        "target=/a,readonly=maybe",
        "type=cache,target=/a,sharing=some",
        "type=cache,target=/a,mode=9",
        "type=cache,target=/a,uid=-1",
        "type=tmpfs,target=/a,size=big",
        "target=/a,word",
        '"target=/a',
        "",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(DockerfileError):
        parse_mount(text)


@given(st.text(max_size=40))
def test_garbage(text: str) -> None:
    try:
        parse_mount(text)
    except DockerfileError:
        return


CLAUSE = st.from_regex(r"[ugoa]{1,2}[-+=][rwxX]{0,3}", fullmatch=True)


@given(st.lists(CLAUSE, min_size=1, max_size=3).map(",".join), st.integers(0, 0o777), st.booleans())
def test_modes_are_those_of_chmod(change: str, mode: int, folder: bool) -> None:
    path = Path(os.environ["MODES"]) / ("folder" if folder else "file")
    path.chmod(mode)
    subprocess.run(["chmod", change, path], check=True)
    assert parse_mode(change).apply(mode, folder=folder) == path.stat().st_mode & 0o7777


@pytest.fixture(autouse=True, scope="module")
def a_folder_and_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("modes")
    (root / "folder").mkdir()
    (root / "file").touch()
    os.environ["MODES"] = str(root)


def test_octal_and_refused_modes() -> None:
    assert parse_mode("4755").apply(0, folder=False) == 0o4755
    for text in ("", "9", "u", "u=z", "77777", "u=r,"):
        with pytest.raises(DockerfileError):
            parse_mode(text)
