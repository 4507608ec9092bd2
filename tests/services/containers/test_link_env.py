"""What a container is told of another one that it links to."""

from dataclasses import replace

from sharedrt.model.spec import ImageDefaults
from sharedrt.services.containers.link_env import link_env
from tests.services.rig import container


def test_variables() -> None:
    other = container(
        name="db",
        exposed_ports=("90/udp", "80/tcp", "443/tcp"),
        image_defaults=ImageDefaults(env=("PATH=/bin", "LANG=C")),
    )
    other = replace(other, spec=replace(other.spec, env=("KEY=a=b", "HOME=/root", "GONE")))
    assert list(link_env("web", "my-db", other, "172.17.0.2")) == [
        "MY_DB_PORT=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_80_TCP_PORT=80",
        "MY_DB_PORT_80_TCP_PROTO=tcp",
        "MY_DB_PORT_443_TCP=tcp://172.17.0.2:443",
        "MY_DB_PORT_443_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_443_TCP_PORT=443",
        "MY_DB_PORT_443_TCP_PROTO=tcp",
        "MY_DB_PORT_90_UDP=udp://172.17.0.2:90",
        "MY_DB_PORT_90_UDP_ADDR=172.17.0.2",
        "MY_DB_PORT_90_UDP_PORT=90",
        "MY_DB_PORT_90_UDP_PROTO=udp",
        "MY_DB_NAME=/web/my-db",
        "MY_DB_ENV_LANG=C",
        "MY_DB_ENV_KEY=a=b",
    ]
    assert list(link_env("web", "x", container(), "1.2.3.4")) == ["X_NAME=/web/x"]
