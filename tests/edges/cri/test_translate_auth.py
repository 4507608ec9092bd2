"""Pull secrets in the forms that a kubelet gives them."""

import traceback
from base64 import b64encode

import pytest

from sharedrt.edges.cri.translate_auth import credentials_of
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import InvalidArgument
from sharedrt.pb.runtime.v1 import AuthConfig

IMAGE = "registry.example:5000/a/b:1"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (AuthConfig(), None),
        (AuthConfig(username="u", password="p"), Credentials("u", "p")),
        (AuthConfig(auth=encoded("u:p:q")), Credentials("u", "p:q")),
        (AuthConfig(auth=encoded("u:p\0\0")), Credentials("u", "p")),
        (AuthConfig(auth=encoded("u:p") + "\r\n"), Credentials("u", "p")),
        (AuthConfig(username="u", password="p", auth="junk"), Credentials("u", "p")),
        (AuthConfig(identity_token="t"), Credentials(identity_token="t")),
        (AuthConfig(registry_token="t"), Credentials(registry_token="t")),
    ],
)
def test_forms(auth: AuthConfig, expected: Credentials | None) -> None:
    assert credentials_of(auth, IMAGE) == expected


@pytest.mark.parametrize(
    ("address", "image", "used"),
    [
        ("registry.example:5000", IMAGE, True),
        ("https://registry.example:5000/v2/", IMAGE, True),
        ("other.example", IMAGE, False),
        ("https://index.docker.io/v1/", "busybox", True),
        ("docker.io", "docker.io/a/b", True),
        ("docker.io", IMAGE, False),
    ],
)
def test_never_sent_to_another_registry(address: str, image: str, used: bool) -> None:
    auth = AuthConfig(username="u", password="p", server_address=address)
    assert (credentials_of(auth, image) is not None) is used


@pytest.mark.parametrize("text", ["!!!", encoded("nocolon"), b64encode(b"\xff\xfe:x").decode()])
def test_malformed_is_refused_without_telling_it(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        credentials_of(AuthConfig(auth=text), IMAGE)
    told = "".join(traceback.format_exception(caught.value))
    assert text not in str(caught.value)
    assert "nocolon" not in told.replace('"nocolon"', "")
