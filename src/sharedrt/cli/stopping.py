"""``stop-all``: before the daemon is taken away for good."""

import typer

from sharedrt.cli.errors import FAILED
from sharedrt.cli.output import print_json, print_table, short
from sharedrt.cli.session import JsonOption, NamespaceOption, session_of


def stop_all(
    context: typer.Context, namespace: NamespaceOption = None, json: JsonOption = False
) -> None:
    """Stop all pods and containers; they would outlive the daemon. Exit code 1 when some did not stop."""
    session = session_of(context, namespace, json)
    reply = session.client.call("POST", "/v1/stop-all", session.query)
    if session.json:
        print_json(reply)
    elif items := [*reply["stopped"], *reply["failed"]]:
        print_table(
            ("NAMESPACE", "KIND", "ID", "RESULT"),
            [(i["namespace"], i["kind"], short(i["id"]), i["error"] or "stopped") for i in items],
        )
    if reply["failed"]:
        raise typer.Exit(FAILED)
