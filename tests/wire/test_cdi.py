"""CDI files: what is read, and that anything else raises CdiError alone."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.cdi import CdiEdits, CdiError, CdiHook, CdiMount, CdiNode, parse_spec, split_name

YAML = b"""
cdiVersion: "0.6.0"
kind: vendor.com/gpu
devices:
- name: "0"
  containerEdits:
    env: [GPU=0]
    deviceNodes:
    - path: /dev/gpu0
      hostPath: /dev/null
      permissions: rw
      fileMode: 432
      uid: 1000
- name: all
  containerEdits: {}
containerEdits:
  mounts:
  - hostPath: /opt/lib
    containerPath: /usr/lib/gpu
    options: [ro, nosuid, bind]
  hooks:
  - hookName: createContainer
    path: /bin/true
    args: ["true", x]
    timeout: 5
  additionalGids: [44]
"""


def test_a_yaml_file() -> None:
    spec = parse_spec(YAML)
    assert spec.kind == "vendor.com/gpu"
    node = CdiNode("/dev/gpu0", "/dev/null", permissions="rw", file_mode=432, uid=1000)
    assert spec.devices == {"0": CdiEdits(env=("GPU=0",), nodes=(node,)), "all": CdiEdits()}
    assert spec.edits == CdiEdits(
        mounts=(CdiMount("/opt/lib", "/usr/lib/gpu", ("ro", "nosuid", "bind")),),
        hooks=(CdiHook("createContainer", "/bin/true", ("true", "x"), timeout_s=5),),
        additional_gids=(44,),
    )


def minimal(**changes: Any) -> dict[str, Any]:
    return {"cdiVersion": "0.5.0", "kind": "a/b", "devices": [{"name": "d"}], **changes}


def test_json_and_what_is_not_done() -> None:
    edits = {"netDevices": [{"hostInterfaceName": "eth1", "name": "x"}], "intelRdt": {"a": 1}}
    spec = parse_spec(json.dumps(minimal(containerEdits=edits)).encode())
    assert spec.edits.refused == ("network devices", "Intel RDT")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cdiVersion": "9.0.0"}, "'9.0.0' is not known"),
        ({"cdiVersion": None}, "cdiVersion is missing"),
        ({"kind": "novendor"}, "not vendor/class"),
        ({"devices": []}, "no devices"),
        ({"devices": [{"name": "d"}, {"name": "d"}]}, "twice"),
        ({"devices": [{"name": "-"}]}, "'-' is not valid"),
        ({"devices": "x"}, "devices must be a list"),
        ({"devices": [{"name": "d", "containerEdits": {"env": ["X"]}}]}, "not NAME=value"),
        ({"containerEdits": {"deviceNodes": [{"path": "/d", "permissions": "q"}]}}, "out of rwm"),
        ({"containerEdits": {"deviceNodes": [{"path": "/d", "major": "1"}]}}, "must be a number"),
        ({"containerEdits": {"hooks": [{"hookName": "never", "path": "/x"}]}}, "'never'"),
        ({"containerEdits": {"mounts": [{"hostPath": "/x"}]}}, "containerPath is missing"),
        ({"containerEdits": {"additionalGids": [-1]}}, "list of numbers"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CdiError, match=words):
        parse_spec(json.dumps(minimal(**changes)).encode())


def test_names() -> None:
    assert split_name("vendor.com/net-device=eth0:1") == ("vendor.com/net-device", "eth0:1")
    for bad in ("", "a/b", "a/b=", "/b=c", "a/=c", "a b/c=d", "a/b=c d"):
        with pytest.raises(CdiError):
            split_name(bad)


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    with pytest.raises(CdiError):
        parse_spec(data)


_LEAVES = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
_KEYS = (
    "env",
    "deviceNodes",
    "mounts",
    "hooks",
    "additionalGids",
    "path",
    "type",
    "major",
    "hookName",
)
_ITEMS = st.dictionaries(st.sampled_from(_KEYS), _LEAVES, max_size=4)


@given(st.dictionaries(st.sampled_from(_KEYS), _LEAVES | st.lists(_ITEMS, max_size=2), max_size=4))
def test_edits_of_any_shape_parse_or_raise_that_error(edits: Any) -> None:
    data = json.dumps(minimal(containerEdits=edits)).encode()
    with contextlib.suppress(CdiError):
        assert parse_spec(data).kind == "a/b"
