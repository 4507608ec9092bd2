"""What a client is told of the configured registries."""

from pathlib import Path

from sharedrt.drivers.registry.configured import configured_registries
from sharedrt.model.drivers import RegistryView
from tests.drivers.registry.test_hosts import write


def test_nothing_configured() -> None:
    found = configured_registries([], [])
    assert found.views == (RegistryView("docker.io", (), True),)
    assert found.insecure_networks == ("::1/128", "127.0.0.0/8")


def test_all_that_is_configured(tmp_path: Path) -> None:
    write(
        tmp_path,
        "docker.io",
        """
        [host."https://near.example"]
        [host."http://far.example:5000/hub"]
          capabilities = ["pull"]
        [host."https://writes.example"]
          capabilities = ["push"]
        """,
    )
    write(tmp_path, "own.example_5000_", 'server = "https://own.example:5000"\nskip_verify = true')
    write(tmp_path, "plain.example", 'server = "http://plain.example"')
    write(tmp_path, "wrong.example", "what?")
    write(tmp_path, "_default", "")
    found = configured_registries(
        [tmp_path, tmp_path / "none"], ["lan.example:5000", "10.0.0.0/8", "10.1.1.1"]
    )
    assert found.views == (
        RegistryView("10.1.1.1", (), False),
        RegistryView("docker.io", ("https://near.example/", "http://far.example:5000/hub/"), True),
        RegistryView("lan.example:5000", (), False),
        RegistryView("own.example:5000", (), False),
        RegistryView("plain.example", (), False),
    )
    assert found.insecure_networks[2:] == ("10.0.0.0/8",)
    assert "wrong.example" in found.problems[0]
