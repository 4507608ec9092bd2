"""CDI devices in config.json. No root needed: nodes of the host are /dev/null and /dev/zero."""

import json
from pathlib import Path
from typing import Any

import pytest

from sharedrt.drivers.oci.cdi import add_cdi_devices, cdi_device_names
from sharedrt.model.faults import FailedPrecondition, InvalidArgument, NotFound, Unimplemented


def config(uid: int = 0) -> dict[str, Any]:
    return {
        "process": {"env": ["PATH=/bin", "A=1"], "user": {"uid": uid, "gid": uid, "additionalGids": [0]}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": []},
                   {"destination": "/usr/lib/gpu", "type": "bind", "source": "/old", "options": []}],
        "linux": {"resources": {"devices": [{"allow": False, "access": "rwm"}]}},
    }  # fmt: skip


def write(folder: Path, name: str, kind: str, devices: dict[str, Any], **common: Any) -> None:
    folder.mkdir(exist_ok=True)
    document = {
        "cdiVersion": "0.6.0",
        "kind": kind,
        "devices": [{"name": n, "containerEdits": e} for n, e in devices.items()],
        "containerEdits": common,
    }
    (folder / name).write_text(json.dumps(document))


def test_all_edits(tmp_path: Path) -> None:
    write(
        tmp_path, "gpu.json", "v.com/gpu",
        {"0": {"env": ["GPU=0"], "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}]},
         "1": {"env": ["GPU=1"], "deviceNodes": [{"path": "/dev/zero", "permissions": "r", "gid": 7}]}},
        env=["A=2"],
        mounts=[{"hostPath": "/opt", "containerPath": "/usr/lib/gpu", "options": ["ro"]}],
        hooks=[{"hookName": "createContainer", "path": "/bin/true", "args": ["true"], "timeout": 3}],
        additionalGids=[44, 0],
    )  # fmt: skip
    made = config(uid=5)
    add_cdi_devices(made, ["v.com/gpu=0", "v.com/gpu=1", "v.com/gpu=0"], [tmp_path])
    assert made["process"]["env"] == ["PATH=/bin", "A=2", "GPU=1"]
    assert made["process"]["user"]["additionalGids"] == [0, 44]
    assert made["linux"]["devices"] == [
        {"path": "/dev/gpu0", "type": "c", "major": 1, "minor": 3, "uid": 5, "gid": 5},
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "uid": 5, "gid": 7},
    ]
    assert made["linux"]["resources"]["devices"][1:] == [
        {"type": "c", "major": 1, "minor": 3, "allow": True, "access": "rwm"},
        {"type": "c", "major": 1, "minor": 5, "allow": True, "access": "r"},
    ]
    assert made["mounts"][-1] == {
        "destination": "/usr/lib/gpu",
        "type": "bind",
        "source": "/opt",
        "options": ["rbind", "ro"],
    }
    assert len(made["mounts"]) == 2
    hook = {"path": "/bin/true", "args": ["true"], "env": [], "timeout": 3}
    assert made["hooks"] == {"createContainer": [hook]}


def test_a_later_folder_wins_and_a_conflict_is_said(tmp_path: Path) -> None:
    low, high = tmp_path / "etc", tmp_path / "run"
    write(low, "a.json", "v/c", {"d": {"env": ["X=low"]}})
    write(high, "a.json", "v/c", {"d": {"env": ["X=high"]}})
    made = config()
    add_cdi_devices(made, ["v/c=d"], [low, high, tmp_path / "missing"])
    assert made["process"]["env"][-1] == "X=high"
    write(high, "b.yaml", "v/c", {"d": {}})
    with pytest.raises(FailedPrecondition, match=r"both .*a\.json and .*b\.yaml"):
        add_cdi_devices(config(), ["v/c=d"], [low, high])


def test_the_devices_that_there_are(tmp_path: Path) -> None:
    low, high = tmp_path / "etc", tmp_path / "run"
    write(low, "a.json", "v/c", {"d": {}, "e": {}})
    write(high, "a.json", "v/c", {"d": {}})
    (high / "broken.json").write_text("{")
    assert cdi_device_names([low, high, tmp_path / "missing"]) == ["v/c=d", "v/c=e"]


def test_refusals(tmp_path: Path) -> None:
    write(tmp_path, "a.json", "v/c", {
        "gone": {"deviceNodes": [{"path": "/dev/no-such-node"}]},
        "file": {"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc/passwd"}]},
        "net": {"netDevices": [{"hostInterfaceName": "eth1"}]},
    })  # fmt: skip
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(NotFound, match="v/c=other"):
        add_cdi_devices(config(), ["v/c=other"], [tmp_path])
    with pytest.raises(InvalidArgument, match="vendor/class=device"):
        add_cdi_devices(config(), ["gpu0"], [tmp_path])
    with pytest.raises(FailedPrecondition, match="no-such-node"):
        add_cdi_devices(config(), ["v/c=gone"], [tmp_path])
    with pytest.raises(FailedPrecondition, match="no such device"):
        add_cdi_devices(config(), ["v/c=file"], [tmp_path])
    with pytest.raises(Unimplemented, match="network devices"):
        add_cdi_devices(config(), ["v/c=net"], [tmp_path])
