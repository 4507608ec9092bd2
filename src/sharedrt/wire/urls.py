"""URLs as clients write them, which may be no URLs at all: ``urlsplit`` raises ValueError for ``http://[``."""

from urllib.parse import unquote, urlsplit


def is_http(text: str) -> bool:
    """Whether it is meant as a URL of HTTP."""
    return text.lower().startswith(("http://", "https://"))


def file_name(url: str) -> str:
    """The last part of the path, as a name that a folder can hold; empty without one."""
    try:
        name = unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        return ""
    if name in (".", "..") or "\0" in name or len(name.encode("utf-8", "replace")) > 255:
        return ""
    return name
