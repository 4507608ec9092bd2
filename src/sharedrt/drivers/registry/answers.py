"""A registry's answers as faults, with its own words (OCI distribution spec, "Error Codes")."""

import json
from typing import Final

import aiohttp

from sharedrt.model.faults import (
    Fault,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

MAX_WORDS_BYTES: Final = 64 << 10
_MAX_WORDS: Final = 300


async def read_all(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises ResourceExhausted beyond ``limit`` bytes."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > limit:
            raise ResourceExhausted(f"answer of {response.url.authority}", f"over {limit} bytes")
    return bytes(body)


async def words_of(response: aiohttp.ClientResponse) -> str:
    """What the registry says about its status: its errors' codes and messages, or its first line."""
    try:
        body = await read_all(response, MAX_WORDS_BYTES)
    except (aiohttp.ClientError, TimeoutError, OSError, ResourceExhausted):
        body = b""
    words = _from_json(body) or _printable(body.decode(errors="replace").partition("\n")[0])
    status = f"{response.status} {response.reason or ''}".strip()
    return f"{status}: {words}" if words else status


def fault_of(status: int, words: str, host: str, kind: str, name: str) -> Fault:
    """The fault for a status from 400 on."""
    match status:
        case 404:
            return NotFound(kind, name)
        case 401:
            return Unauthenticated(f"registry {host}", words)
        case 403:
            return PermissionDenied(f"registry {host}", words)
        case 400 | 405 | 413 | 415:
            return InvalidArgument(kind, name, f"registry {host} refuses it: {words}")
        case _:
            return Unavailable(f"registry {host}", words)


def _from_json(body: bytes) -> str:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors")
    if isinstance(errors, list):
        parts = [_one(error) for error in errors[:3] if isinstance(error, dict)]
        return "; ".join(part for part in parts if part)
    for key in ("details", "error_description", "message", "error"):
        if isinstance(text := document.get(key), str) and text:
            return _printable(text)
    return ""


def _one(error: dict[str, object]) -> str:
    code, message = error.get("code"), error.get("message")
    parts = (text for text in (code, message) if isinstance(text, str) and text)
    return _printable(": ".join(parts))


def _printable(text: str) -> str:
    kept = "".join(char if char.isprintable() else " " for char in text[:_MAX_WORDS])
    return " ".join(kept.split())
