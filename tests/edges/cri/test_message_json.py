"""Messages as Go writes them."""

import json

from sharedrt.edges.cri.message_json import message_json
from sharedrt.pb.runtime import v1 as pb
from tests.edges.cri.builders import config


def test_snake_case_numbers_and_no_defaults() -> None:
    asked = config(
        stop_signal=pb.Signal.SIGTERM,
        tty=True,
        envs=[pb.KeyValue(key="A", value="1")],
        annotations={"x": "y"},
        linux=pb.LinuxContainerConfig(
            resources=pb.LinuxContainerResources(memory_limit_in_bytes=1 << 40, oom_score_adj=-5)
        ),
    )
    assert json.loads(json.dumps(message_json(asked))) == {
        "metadata": {"name": "app"},
        "image": {"image": "busybox"},
        "log_path": "app/0.log",
        "stop_signal": 23,
        "tty": True,
        "envs": [{"key": "A", "value": "1"}],
        "annotations": {"x": "y"},
        "linux": {"resources": {"memory_limit_in_bytes": 1 << 40, "oom_score_adj": -5}},
    }
