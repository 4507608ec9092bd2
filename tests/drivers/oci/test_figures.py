"""What processes hold. No root needed: it is our own process that is looked at."""

import os
import socket
from pathlib import Path

from sharedrt.drivers.oci.figures import device_of, file_system, process_figures


def test_descriptors_and_sockets_of_a_process() -> None:
    before = process_figures([os.getpid()])
    with socket.socket(), open(os.devnull):
        during = process_figures([os.getpid(), 0])
    assert during.sockets == before.sockets + 1
    assert during.file_descriptors == before.file_descriptors + 2
    assert (before.processes, during.processes) == (1, 2)


def test_the_limit_is_the_first_ones(tmp_path: Path) -> None:
    for pid, limit in ((7, "4096"), (8, "unlimited")):
        (tmp_path / str(pid)).mkdir()
        line = f"Max open files            {limit}                 524288               files"
        (tmp_path / str(pid) / "limits").write_text(f"Limit   Soft Limit\n{line}\n")
    assert process_figures([7, 8], tmp_path).open_files_limit == 4096
    assert process_figures([8, 7], tmp_path).open_files_limit is None
    assert process_figures([9], tmp_path).open_files_limit is None
    assert process_figures([], tmp_path).processes == 0


def test_the_file_system_of_a_folder(tmp_path: Path) -> None:
    found = file_system(str(tmp_path), "dev")
    assert found.device == "dev"
    assert 0 < found.inodes_free <= found.inodes
    number = os.stat(tmp_path).st_dev
    table = tmp_path / "mountinfo"
    line = f"30 1 {os.major(number)}:{os.minor(number)} / / rw - ext4 /dev/vdz rw"
    table.write_text(f"29 1 0:99 / /x rw shared:1 - tmpfs tmpfs rw\n{line}\n")
    assert device_of(tmp_path, table) == "/dev/vdz"
    table.write_text("")
    assert device_of(tmp_path, table) == f"{os.major(number)}:{os.minor(number)}"
