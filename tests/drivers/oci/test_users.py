"""Users by a container's own files, and no way out of its root."""

import os
from pathlib import Path

import pytest

from sharedrt.drivers.oci.users import (
    RootfsUsers,
    open_in_root,
    parse_group,
    parse_passwd,
    read_in_root,
    select_user,
)
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.spec import User

PASSWD = parse_passwd(
    "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/:\n\nbad line\n#x:y\n77:x:5:6::/:\n"
)
GROUP = parse_group("root:x:0:\nbin:x:1:root,web\nwww:x:1001:\nextra:x:50:web\nbad\n")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User(), (0, 0, (0, 1))),
        (User("web"), (1000, 1001, (1001, 1, 50))),
        (User("1000"), (1000, 1001, (1001, 1, 50))),
        (User("4000"), (4000, 0, (0,))),
        (User("77"), (5, 6, (6,))),  # a name of digits is a name first
        (User("web:extra"), (1000, 50, (50,))),
        (User("web:60"), (1000, 60, (60,))),
        (User("4000:4001"), (4000, 4001, (4001,))),
        (User(":www"), (0, 1001, (1001,))),
        (User("web:"), (1000, 1001, (1001, 1, 50))),
        (User("root", uid=1000), (1000, 1001, (1001, 1, 50))),
        (User("web", uid=0), (0, 0, (0, 1))),
        (User(uid=77), (77, 0, (0,))),  # uid 77, not the user named so
        (User(uid=1000, gid=9), (1000, 9, (9, 1, 50))),
        (User(uid=1000, merge_image_groups=False), (1000, 1001, (1001,))),
        (
            User("web", additional_gids=(50, 7), additional_groups=("www", "8")),
            (1000, 1001, (1001, 1, 50, 8, 7)),
        ),
    ],
)
def test_resolution(user: User, expected: tuple[int, int, tuple[int, ...]]) -> None:
    assert select_user(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    "user", [User("who"), User("web:which"), User(additional_groups=("which",)), User("-1")]
)
def test_unknown_names(user: User) -> None:
    with pytest.raises(NotFound):
        select_user(user, PASSWD, GROUP)


@pytest.mark.parametrize(
    "user", [User(uid=1 << 31), User("4294967295"), User(gid=-1), User("0:2147483648")]
)
def test_ids_out_of_range(user: User) -> None:
    with pytest.raises(InvalidArgument):
        select_user(user, PASSWD, GROUP)


def test_numbers_that_are_none() -> None:
    """Of more digits than Python reads: in an image, and from a client."""
    digits = "9" * 5000
    assert parse_passwd(f"a:x:{digits}:0::/:\nb:x:0:{digits}::/:\n") == []
    assert parse_group(f"a:x:{digits}:\n") == []
    for user in (User(digits), User(f"0:{digits}"), User(additional_groups=(digits,))):
        with pytest.raises(NotFound):
            select_user(user, PASSWD, GROUP)


async def test_files_of_the_root(tmp_path: Path) -> None:
    assert await RootfsUsers().resolve(tmp_path, User("5")) == (5, 0, (0,))
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("x:x:3:4::/:\n")
    assert await RootfsUsers().resolve(tmp_path, User("x")) == (3, 4, (4,))


def test_symlinks_stay_inside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "etc").mkdir(parents=True)
    (root / "usr").mkdir()
    outside.mkdir()
    (outside / "passwd").write_text("leak")
    (root / "usr/passwd").write_text("inside")
    link = root / "etc/passwd"
    for target, expected in (
        ("/usr/passwd", "inside"),
        ("../../../../usr/passwd", "inside"),
        (str(outside / "passwd"), ""),
        ("../../outside/passwd", ""),
        ("passwd", ""),  # a loop
        ("/proc/self/root/etc/passwd", ""),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert read_in_root(root, "etc/passwd") == expected, target


def test_what_is_no_file_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    assert read_in_root(tmp_path, "fifo") == ""
    assert read_in_root(tmp_path, "folder") == ""
    with pytest.raises(FileNotFoundError):
        open_in_root(tmp_path, "none")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "passwd").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(InvalidArgument):
        read_in_root(tmp_path, "passwd")
