"""The documents of checkpoint archives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.checkpoint import (
    CheckpointConfig,
    CheckpointError,
    bind_targets,
    parse_config,
    render_config,
)


@given(st.builds(CheckpointConfig, *[st.text(max_size=9)] * 8))
def test_what_is_written_is_read(config: CheckpointConfig) -> None:
    if not config.image_names:
        with pytest.raises(CheckpointError, match="names no image"):
            parse_config(render_config(config))
    else:
        assert parse_config(render_config(config)) == config


def test_keys_are_those_that_other_tools_read() -> None:
    config = CheckpointConfig("id", "name", "sha256:1", "a@sha256:2", "a:1", "runc", "t1", "t2")
    assert json.loads(render_config(config)) == {
        "id": "id",
        "name": "name",
        "rootfsImage": "sha256:1",
        "rootfsImageRef": "a@sha256:2",
        "rootfsImageName": "a:1",
        "runtime": "runc",
        "createdTime": "t1",
        "checkpointedTime": "t2",
    }
    assert config.image_names == ("a@sha256:2", "a:1", "sha256:1")


def test_binds() -> None:
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/a", "type": "bind", "options": ["ro"]},
        {"destination": "/b", "type": "none", "options": ["rbind"]},
    ]
    assert bind_targets(json.dumps({"mounts": mounts}).encode()) == ("/a", "/b")
    assert bind_targets(b"{}") == ()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"rootfsImage": 1}', b'{"mounts": 1}', b'{"mounts": [1]}']
)
def test_nonsense(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        parse_config(data)
    if data not in (b'{"rootfsImage": 1}',):
        with pytest.raises(CheckpointError):
            bind_targets(data)
