"""Progress messages of pulls and pushes, as the docker CLI draws them (its package ``jsonmessage``)."""

from typing import Final

from sharedrt.model.records import Json

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_BAR_CELLS: Final = 50


def human_size(size_bytes: int) -> str:
    """Four significant digits in powers of 1000, as go-units writes them: ``1.234MB``."""
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"


def progress_bar(current: int, total: int) -> str:
    """``[====>      ]  1.2MB/3.4MB``; only the size where the total is not known."""
    if total <= 0 or current > total:
        return human_size(current)
    cells = min(current * _BAR_CELLS // total, _BAR_CELLS)
    bar = "=" * cells + (">" if cells < _BAR_CELLS else "")
    return f"[{bar:<{_BAR_CELLS}}] {human_size(current):>8}/{human_size(total)}"


def status(text: str, *, id: str = "") -> dict[str, Json]:
    """A line of text."""
    message: dict[str, Json] = {"status": text}
    if id:
        message["id"] = id
    return message


def layer_status(text: str, id: str) -> dict[str, Json]:
    """A layer's state without figures."""
    return {"status": text, "progressDetail": {}, "id": id}


def progress_of(text: str, current: int, total: int) -> dict[str, Json]:
    """The state of the whole with a bar. ``total``: 0 when it is not known."""
    detail: dict[str, Json] = {"current": current}
    if total:
        detail["total"] = total
    return {"status": text, "progressDetail": detail, "progress": progress_bar(current, total)}


def layer_progress(text: str, id: str, current: int, total: int) -> dict[str, Json]:
    """A layer's state with a bar."""
    return {
        "status": text,
        "progressDetail": {"current": current, "total": total},
        "progress": progress_bar(current, total),
        "id": id,
    }


def failure(message: str, code: int = 0) -> dict[str, Json]:
    """An error inside a stream that has begun with 200."""
    detail: dict[str, Json] = {"message": message}
    if code:
        detail["code"] = code
    return {"errorDetail": detail, "error": message}
