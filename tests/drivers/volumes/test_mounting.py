"""What is refused before mount(8) is asked."""

from pathlib import Path

import pytest

from sharedrt.drivers.volumes.mounting import mount_volume
from sharedrt.model.faults import InvalidArgument
from sharedrt.services.volumes import NewVolume, check_volume

LONG = f"{'a' * 64}.example"
"""A label that no name may have: Python does not even ask for it."""


@pytest.mark.parametrize("host", [LONG, "a..b"])
def test_a_server_whose_name_cannot_be_one(tmp_path: Path, host: str) -> None:
    options = {"type": "nfs", "device": ":/export", "o": f"addr={host}"}
    with pytest.raises(InvalidArgument, match="cannot be resolved"):
        mount_volume("data", str(tmp_path), options)


@pytest.mark.parametrize("option", ["type", "device", "o"])
def test_options_that_no_program_can_be_given(option: str) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
    options[option] += "\0"
    with pytest.raises(InvalidArgument, match="zero byte"):
        check_volume(NewVolume(name="data", options=options))
