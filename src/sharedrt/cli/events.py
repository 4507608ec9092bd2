"""``events``: what happens, as it happens."""

import json as json_module
import re
import time
from typing import Annotated, Final

import typer

from sharedrt.cli.client import Reply
from sharedrt.cli.errors import USAGE, CliError
from sharedrt.cli.output import clock, labels, short
from sharedrt.cli.session import JsonOption, NamespaceOption, session_of

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def events(
    context: typer.Context,
    namespace: NamespaceOption = None,
    since: Annotated[
        str, typer.Option(help="Stored ones first, from so long ago (10m, 2h); needs -n.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Follow events until interrupted."""
    session = session_of(context, namespace, json)
    query = dict(session.query)
    if since:
        session.one_namespace()
        query["since_ns"] = str(time.time_ns() - _span_ns(since))
    for event in session.client.lines("GET", "/v1/events", query):
        print(json_module.dumps(event) if session.json else _line(event), flush=True)


def _line(event: Reply) -> str:
    actor = event["actor"]
    name = event["attributes"].get("name", "")
    shown = short(actor) if re.fullmatch(r"(sha256:)?[0-9a-f]{64}", actor) else actor
    rest = labels({k: v for k, v in event["attributes"].items() if k in ("image", "exitCode")})
    words = [clock(event["time_ns"]), event["namespace"], event["kind"], event["action"], shown]
    return "  ".join([*words, *(text for text in (name, rest) if text)])


def _span_ns(text: str) -> int:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise CliError(f"{text!r} is no span of time: 30s, 10m, 2h, 1d", USAGE)
    return int(found[1]) * _UNITS_S[found[2]] * 10**9
