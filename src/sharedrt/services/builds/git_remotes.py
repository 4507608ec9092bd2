"""How a context or a source says that it is a git repository."""

import re
from typing import Final

from sharedrt.model.drivers import GitRemote
from sharedrt.wire.urls import is_http

GIT_TIMEOUT_S: Final = 600.0
_SCP_FORM: Final = re.compile(r"[\w.-]+@[\w.-]+:.+")


def parse_git(remote: str) -> GitRemote | None:
    """``URL#ref:folder`` of a git repository; ``None`` for what is none."""
    url, _, fragment = remote.partition("#")
    ref, _, folder = fragment.partition(":")
    if remote.startswith("github.com/"):
        url = f"https://{url}"
    elif not (
        url.startswith(("git://", "ssh://"))
        or _SCP_FORM.fullmatch(url)
        or (is_http(url) and url.endswith(".git"))
    ):
        return None
    return GitRemote(url, ref, folder)
