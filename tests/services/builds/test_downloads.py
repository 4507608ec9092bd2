"""What ADD calls a file that it has fetched."""

from pathlib import Path
from typing import Any, cast

import pytest

from sharedrt.model.drivers import Downloaded
from sharedrt.services.builds.downloads import Downloads
from sharedrt.services.builds.errors import BuildFailed


class Host:
    """Of the drivers what downloads use; files in memory."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    async def make_folder(self, path: Path) -> None:
        assert path.name.startswith("download-")

    async def fetch(self, url: str, target: Path, *, limit_bytes: int) -> Downloaded:
        assert target.parent.name.startswith("download-")
        self.fetched.append(target.name)
        return Downloaded("0" * 64, 1, "")


@pytest.mark.parametrize(
    ("path", "name"),
    [("/a/file.tgz", "file.tgz"), ("/a%20b", "a b"), ("/a/", "download"), ("/x%2Fy", "y")],
)
async def test_names(path: str, name: str) -> None:
    host = Host()
    downloads = Downloads(cast(Any, host), cast(Any, None), cast(Any, host), Path("/build"))
    await downloads.get(f"http://files.test{path}", "")
    assert host.fetched == [name]


@pytest.mark.parametrize("path", ["/..", "/%2e%2e", "/%2e", "/a%00b", "/" + "n" * 256])
async def test_what_no_file_can_be_called(path: str) -> None:
    """Not the folder above, and no error of the host's."""
    host = Host()
    downloads = Downloads(cast(Any, host), cast(Any, None), cast(Any, host), Path("/build"))
    with pytest.raises(BuildFailed, match="cannot determine filename from url"):
        await downloads.get(f"http://files.test{path}", "")
    assert host.fetched == []
