"""Files that are changed while their container may write to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from sharedrt.drivers.hostfs import HostFs
from sharedrt.model.ids import NetworkId
from sharedrt.model.records import EndpointRecord
from sharedrt.services.containers.etc_files import EtcFiles
from sharedrt.services.layout import Layout
from tests.services.rig import ID, MOBY, container


class Networks:
    """Where the container is, and what its resolv.conf says."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def endpoints_of(self, owner: str) -> list[EndpointRecord]:
        found = []
        for number, address in enumerate(self.addresses):
            fields: Any = {"id": f"e{number}", "network_id": NetworkId("n"), "owner": owner}
            found.append(EndpointRecord(**fields, addresses=(address,)))
        return found

    def has_names(self, network: NetworkId) -> bool:
        return True

    def resolver_of(self, owner: str) -> str:
        return "127.0.0.11" if self.addresses else ""

    def resolv_conf(self, *_: object, resolver: str, **__: object) -> str:
        return f"nameserver {resolver or '9.9.9.9'}\n"


async def joined(tmp_path: Path, write: Callable[[Path], None]) -> Path:
    """The container's folder after it has written to its files and then joined a network."""
    networks = Networks()
    layout = Layout(MOBY, tmp_path / "state", tmp_path / "run", "sharedrt", False)
    folder, none = layout.container_run(ID), cast(Any, None)
    files, record = EtcFiles(layout, HostFs(), cast(Any, networks), none), container()
    before = files.texts(record)
    await files.make(record)
    write(folder)
    networks.addresses.append("10.1.0.2/24")
    await files.refresh(record, before)
    return folder


def append(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return write


async def test_what_the_container_wrote_stays(tmp_path: Path) -> None:
    folder = await joined(tmp_path, append("hosts", "10.9.9.9 mine\n"))
    hosts = (folder / "hosts").read_text()
    assert "10.9.9.9 mine\n" in hosts
    assert f"10.1.0.2\t{ID[:12]}" in hosts
    assert (folder / "resolv.conf").read_text() == "nameserver 127.0.0.11\n"


async def test_a_file_that_the_container_has_filled_is_not_taken_in(tmp_path: Path) -> None:
    """As large as it likes: all of it, three times over, would be the daemon's memory."""
    folder = await joined(tmp_path, append("hosts", "x" * (2 << 20)))
    assert (folder / "hosts").stat().st_size > 2 << 20
    assert "10.1.0.2" not in (folder / "hosts").read_text()
    assert (folder / "resolv.conf").read_text() == "nameserver 127.0.0.11\n"
    folder = await joined(tmp_path / "2", append("resolv.conf", "x" * (2 << 20)))
    assert "10.1.0.2" in (folder / "hosts").read_text()
    assert (folder / "resolv.conf").stat().st_size > 2 << 20
