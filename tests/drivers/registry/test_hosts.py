"""certs.d, as containerd's documentation and its code describe it."""

from pathlib import Path

import pytest

from sharedrt.drivers.registry.hosts import PULL, PUSH, RESOLVE, HostsConfig, RegistryHost
from sharedrt.model.faults import FailedPrecondition


def write(root: Path, host: str, text: str) -> None:
    (root / host).mkdir(parents=True, exist_ok=True)
    (root / host / "hosts.toml").write_text(text)


def urls(hosts: tuple[RegistryHost, ...]) -> list[str]:
    return [f"{host.scheme}://{host.authority}{host.path}" for host in hosts]


def test_without_configuration(tmp_path: Path) -> None:
    config = HostsConfig([tmp_path / "none"], insecure=["10.0.0.0/8", "reg.lan:5000", "plain"])
    assert urls(config.hosts_for("docker.io")) == ["https://registry-1.docker.io/v2"]
    assert urls(config.hosts_for("quay.io")) == ["https://quay.io/v2"]
    [local] = config.hosts_for("localhost:5000")
    assert (local.scheme, local.http_fallback, local.tls.skip_verify) == ("https", True, True)
    assert urls(config.hosts_for("127.0.0.1:80")) == ["http://127.0.0.1:80/v2"]
    assert config.hosts_for("10.1.2.3:5000")[0].http_fallback
    assert config.hosts_for("reg.lan:5000")[0].http_fallback
    assert not config.hosts_for("reg.lan:5001")[0].http_fallback
    assert config.hosts_for("plain:81")[0].http_fallback
    assert config.hosts_for("[::1]:5000")[0].http_fallback


def test_mirrors_in_the_files_order_and_the_registry_behind_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        "docker.io",
        """
        [host."https://z.example"]
          capabilities = ["pull"]
        [host."http://a.example:5000"]
          capabilities = ["Pull", "resolve"]
          dial_timeout = "1m1.5s"
          [host."http://a.example:5000".header]
            x-one = "1"
            x-two = ["2", "3"]
        [host."https://odd.example/v2/upstream"]
          override_path = true
        [host."https://sub.example/docker"]
        """,
    )
    hosts = HostsConfig([tmp_path]).hosts_for("docker.io")
    assert urls(hosts) == [
        "https://z.example/v2",
        "http://a.example:5000/v2",
        "https://odd.example/v2/upstream",
        "https://sub.example/docker/v2",
        "https://registry-1.docker.io/v2",
    ]
    assert [host.mirror for host in hosts] == [True, True, True, True, False]
    assert [host.own for host in hosts] == [False, False, False, False, True]
    assert [host.implied for host in hosts] == [False, False, False, False, True]
    assert hosts[0].capabilities == {PULL}
    assert hosts[1].capabilities == {PULL, RESOLVE}
    assert PUSH in hosts[2].capabilities
    assert hosts[1].dial_timeout_s == 61.5
    assert hosts[1].header == {"x-one": ("1",), "x-two": ("2", "3")}


def test_a_named_server_takes_the_registrys_place(tmp_path: Path) -> None:
    write(tmp_path, "_default", 'server = "http://mirror:5000"')
    [host] = HostsConfig([tmp_path]).hosts_for("quay.io")
    assert urls((host,)) == ["http://mirror:5000/v2"]
    assert (host.mirror, host.own, host.implied) == (True, True, False)


@pytest.mark.parametrize("folder", ["reg.example_5000_", "reg.example:5000", "_default"])
def test_folder_names(tmp_path: Path, folder: str) -> None:
    write(tmp_path, folder, '[host."http://mirror"]')
    assert len(HostsConfig([tmp_path]).hosts_for("reg.example:5000")) == 2


def test_a_hosts_own_folder_goes_before_any_default(tmp_path: Path) -> None:
    write(tmp_path / "a", "_default", 'server = "http://default"')
    write(tmp_path / "b", "quay.io", 'server = "http://own"')
    config = HostsConfig([tmp_path / "a", tmp_path / "b"])
    assert urls(config.hosts_for("quay.io")) == ["http://own/v2"]
    assert urls(config.hosts_for("other.io")) == ["http://default/v2"]


def test_loopback_and_insecure_registries_count_as_configured(tmp_path: Path) -> None:
    write(tmp_path, "_default", '[host."http://mirror"]')
    config = HostsConfig([tmp_path], insecure=["reg.lan"])
    assert config.hosts_for("quay.io")[-1].implied
    assert not config.hosts_for("127.0.0.1:5000")[-1].implied
    assert not config.hosts_for("reg.lan")[-1].implied


def test_tls_files(tmp_path: Path) -> None:
    folder = tmp_path / "reg.example"
    write(
        tmp_path,
        "reg.example",
        """
        server = "https://reg.example"
        ca = ["one.pem", "/abs/two.pem"]
        client = [["a.cert", "a.key"], ["both.pem", ""], "single.pem"]
        [host."http://mirror:5000"]
          skip_verify = true
        """,
    )
    mirror, server = HostsConfig([tmp_path]).hosts_for("reg.example")
    assert server.tls.ca == (folder / "one.pem", Path("/abs/two.pem"))
    assert server.tls.client == (
        (folder / "a.cert", folder / "a.key"),
        (folder / "both.pem", None),
        (folder / "single.pem", None),
    )
    assert not server.mirror
    assert (mirror.scheme, mirror.http_fallback, mirror.tls.skip_verify) == ("https", True, True)


def test_dockers_certificate_files(tmp_path: Path) -> None:
    folder = tmp_path / "localhost:5000"
    folder.mkdir()
    for name in ("ca.crt", "client.cert", "client.key", "lone.cert", "readme"):
        (folder / name).touch()
    [host] = HostsConfig([tmp_path]).hosts_for("localhost:5000")
    assert host.tls.ca == (folder / "ca.crt",)
    assert host.tls.client == (
        (folder / "client.cert", folder / "client.key"),
        (folder / "lone.cert", None),
    )
    assert (host.tls.skip_verify, host.http_fallback) == (False, False)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("server = ", "hosts.toml"),
        ("server = 1", "server"),
        ("servers = 'x'", "servers"),
        ('[host."http://m"]\ncapabilities = ["fly"]', "fly"),
        ('[host."http://m"]\ncolour = 1', "colour"),
        ('[host."http://m"]\nca = 1', "ca"),
        ('[host."http://m"]\nskip_verify = "yes"', "skip_verify"),
        ('[host."http://m"]\nclient = [["a"]]', "client"),
        ('[host."http://m"]\ndial_timeout = "soon"', "soon"),
        ('[host."http://u:p@m"]', "u:p@m"),
        ('[host."ftp://m"]', "ftp://m"),
    ],
)
def test_wrong_files_are_refused_by_name(tmp_path: Path, text: str, word: str) -> None:
    write(tmp_path, "quay.io", text)
    with pytest.raises(FailedPrecondition, match=word) as caught:
        HostsConfig([tmp_path]).hosts_for("quay.io")
    assert "quay.io/hosts.toml" in str(caught.value)
