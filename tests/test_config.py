"""The configuration: defaults as documented, unknown keys and wrong types named with their line."""

import re
from pathlib import Path

import pytest

from sharedrt.config import Config, load_config, parse_config
from sharedrt.model.faults import InvalidArgument

SAMPLE = Path(__file__).parents[1] / "deploy" / "config.toml"
_NO_DEFAULT = ("tls_cert", "tls_key", "tls_ca")
_DERIVED = ("socket", "path")


def test_an_empty_file_is_the_default() -> None:
    assert parse_config("", "test") == Config()
    assert load_config(SAMPLE) == Config()


def test_the_sample_shows_every_key_with_its_default() -> None:
    text = SAMPLE.read_text()
    shown = re.sub(r"(?m)^# (\w+ = )", r"\1", text)
    shown = "\n".join(
        line for line in shown.splitlines() if not line.startswith((*_NO_DEFAULT, *_DERIVED))
    )
    assert parse_config(shown, "sample") == Config()
    default = Config()
    for name in default.__dataclass_fields__:
        section = text.split(f"[{name}]")[1].split("\n[")[0]
        for key in getattr(default, name).__dataclass_fields__:
            assert re.search(rf"^# {key} = ", section, re.M), f"{name}.{key} is not in the sample"


def test_sockets_follow_the_run_folder() -> None:
    config = parse_config(
        '[daemon]\nrun_dir = "/run/two"\n[docker]\nsocket = "/run/d.sock"\n', "test"
    )
    assert config.socket("cri") == Path("/run/two/cri.sock")
    assert config.socket("docker") == Path("/run/d.sock")


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('[daemon]\n\nstate_dri = "/x"\n', "daemon.state_dri", 3),
        ("[cri]\nenabled = true\n[network]\nmtu = 1400\nbrigde = 1\n", "network.brigde", 5),
        ("[nonsense]\nx = 1\n", "nonsense", 1),
        ('[network]\nmtu = "large"\n', "network.mtu", 2),
        ("[daemon]\nlog_level = 1\nrun_dir = 'relative'\n", "daemon.log_level", 2),
        ("[daemon]\nrun_dir = 'relative'\n", "daemon.run_dir", 2),
        ("[registry]\ninsecure = 'host'\n", "registry.insecure", 2),
        ("[cri]\nenabled = 1\n", "cri.enabled", 2),
        ("cri = 3\n", "cri", 1),
    ],
)
def test_a_bad_key_is_named_with_its_line(text: str, key: str, line: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_config(text, "file.toml")
    assert f"{key!r}" in str(caught.value)
    assert f"file.toml:{line})" in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"# \xff")
    with pytest.raises(InvalidArgument, match=r"c\.toml.*UTF-8"):
        load_config(tmp_path / "c.toml")


def test_no_toml_and_no_file() -> None:
    with pytest.raises(InvalidArgument, match=r"file\.toml.*line 1"):
        parse_config("[daemon\n", "file.toml")
    with pytest.raises(InvalidArgument, match="No such file"):
        load_config(Path("/nonexistent/config.toml"))
