"""What handlers read out of requests."""

import json
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import Namespace, parse_namespace
from sharedrt.services.contracts import Runtime

RUNTIME: Final = web.AppKey("runtime", Runtime)


def wanted_namespaces(request: web.Request) -> Sequence[Namespace]:
    """The one of ``?namespace=``, or all. One that does not exist simply has nothing."""
    if name := request.query.get("namespace"):
        return [parse_namespace(name)]
    return request.app[RUNTIME].all_namespaces.names()


def one_namespace(request: web.Request) -> Namespace:
    """Raises InvalidArgument when ``?namespace=`` is missing."""
    return parse_namespace(request.query.get("namespace", ""))


async def json_body(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; no body is an empty one. Raises InvalidArgument."""
    data = await request.read()
    try:
        body = json.loads(data) if data else {}
    except ValueError as error:
        raise InvalidArgument("body", data[:40].decode(errors="replace"), str(error)) from error
    if not isinstance(body, dict):
        raise InvalidArgument("body", data[:40].decode(errors="replace"), "not a JSON object")
    return body


def text_field(body: dict[str, Any], name: str) -> str:
    """Empty when absent. Raises InvalidArgument for what is no text."""
    value = body.get(name, "")
    if not isinstance(value, str):
        raise InvalidArgument(name, value, "not a text")
    return value


def label_field(body: dict[str, Any], name: str) -> dict[str, str]:
    """Raises InvalidArgument for what is no object of texts."""
    value = body.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidArgument(name, value, "not an object of texts")
    return value


def number_query(request: web.Request, name: str) -> int:
    """0 when absent. Raises InvalidArgument."""
    text = request.query.get(name, "0")
    if not text.isdecimal():
        raise InvalidArgument(name, text, "not a number")
    return int(text)
