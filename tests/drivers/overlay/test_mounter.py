"""Which of its two ways the kernel lets overlayfs be mounted."""

import os
import re

import pytest

from sharedrt.drivers import mountapi
from sharedrt.drivers.overlay import mounter


@pytest.mark.real
def test_layer_by_layer_since_6_8() -> None:
    """Debian 12's own kernel, 6.1, takes any option and refuses the mount."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    assert version is not None
    assert mounter.takes_layer_by_layer() == (tuple(map(int, version.groups())) >= (6, 8))


class OldKernel:
    """fsconfig(2) before 6.5: nothing is refused until the file system is made."""

    def __init__(self, kind: str) -> None: ...

    def __enter__(self) -> "OldKernel":
        return self

    def __exit__(self, *error: object) -> None: ...

    def option(self, key: str, value: str) -> None: ...


class SomewhatOldKernel(OldKernel):
    """6.5 to 6.7: what is unknown is refused at once, and layers one by one are."""

    def option(self, key: str, value: str) -> None:
        raise OSError(22, f"overlay: Unknown parameter '{key}'")


@pytest.mark.parametrize("kernel", [OldKernel, SomewhatOldKernel])
def test_older_kernels(kernel: type, monkeypatch: pytest.MonkeyPatch) -> None:
    mounter.takes_layer_by_layer.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(mountapi, "FileSystem", kernel)
        assert mounter.takes_layer_by_layer() is False
    mounter.takes_layer_by_layer.cache_clear()
