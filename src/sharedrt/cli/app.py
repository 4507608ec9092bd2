"""The commands, put together."""

from pathlib import Path
from typing import Annotated

import typer

from sharedrt.cli.check import check, version
from sharedrt.cli.events import events
from sharedrt.cli.images import images_app
from sharedrt.cli.lists import containers, content, namespaces_app, pods
from sharedrt.cli.session import ADDRESS_VARIABLE, Session
from sharedrt.cli.stopping import stop_all

app = typer.Typer(
    help="Look after a sharedrt daemon: all namespaces, images, events, this host.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def root(
    context: typer.Context,
    address: Annotated[
        Path | None,
        typer.Option(
            "--address",
            "-a",
            metavar="SOCKET",
            help=f"The daemon's admin socket (default: ${ADDRESS_VARIABLE}, or as configured).",
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAME", help="Only this namespace.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The daemon's configuration.")
    ] = None,
) -> None:
    context.obj = Session(address, namespace, json, config)


app.add_typer(namespaces_app, name="namespaces")
app.command("containers")(containers)
app.command("pods")(pods)
app.add_typer(images_app, name="images")
app.command("content")(content)
app.command("events")(events)
app.command("check")(check)
app.command("stop-all")(stop_all)
app.command("version")(version)
