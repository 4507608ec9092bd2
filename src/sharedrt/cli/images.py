"""``images``: list, pull, import and remove."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from sharedrt.cli.client import Reply
from sharedrt.cli.errors import CliError
from sharedrt.cli.lists import listing
from sharedrt.cli.output import age, print_json, short, size
from sharedrt.cli.progress import LayerBars, ReadBar
from sharedrt.cli.session import JsonOption, NamespaceOption, Session, session_of

images_app = typer.Typer(help="Images: list, pull, import, remove.", no_args_is_help=False)


@images_app.callback(invoke_without_command=True)
def images(
    context: typer.Context, namespace: NamespaceOption = None, json: JsonOption = False
) -> None:
    """List images."""
    session = session_of(context, namespace, json)
    context.obj = session
    if context.invoked_subcommand is None:
        _list(session)


@images_app.command("ls")
def images_ls(
    context: typer.Context, namespace: NamespaceOption = None, json: JsonOption = False
) -> None:
    """List images."""
    _list(session_of(context, namespace, json))


def _list(session: Session) -> None:
    listing(
        session,
        "/v1/images",
        ("NAMESPACE", "REFERENCE", "IMAGE", "PLATFORM", "SIZE", "AGE"),
        lambda i: (
            i["namespace"],
            ", ".join(_names(i)),
            short(i["id"]),
            i["platform"],
            size(i["content_size_bytes"]),
            age(i["created_ns"]),
        ),
    )


@images_app.command("pull")
def images_pull(
    context: typer.Context,
    reference: str,
    platform: Annotated[str, typer.Option(help="os/architecture[/variant]; this host's.")] = "",
    namespace: NamespaceOption = None,
    json: JsonOption = False,
) -> None:
    """Pull an image from its registry."""
    session = session_of(context, namespace, json)
    body = {"namespace": session.one_namespace(), "reference": reference, "platform": platform}
    lines = session.client.lines("POST", "/v1/images/pull", body=body)
    if json or session.json:
        _print_lines(lines)
        return
    with LayerBars() as bars:
        found = _follow(lines, bars)
    _print_found(found)


@images_app.command("import")
def images_import(
    context: typer.Context,
    archive: Annotated[str, typer.Argument(help="docker save or OCI layout, or - for stdin.")],
    namespace: NamespaceOption = None,
    json: JsonOption = False,
) -> None:
    """Import an archive of images."""
    session = session_of(context, namespace, json)
    query = {"namespace": session.one_namespace()}
    with _opened(archive) as file:
        if session.json:
            _print_lines(session.client.lines("POST", "/v1/images/import", query, file))
            return
        with LayerBars() as bars, ReadBar(bars, file, archive) as reader:
            lines = session.client.lines("POST", "/v1/images/import", query, reader)
            found = _follow(lines, bars)
    _print_found(found)


@images_app.command("rm")
def images_rm(
    context: typer.Context,
    references: list[str],
    force: Annotated[bool, typer.Option("--force", "-f", help="All names of an id.")] = False,
    namespace: NamespaceOption = None,
    json: JsonOption = False,
) -> None:
    """Remove names, and images with their last name."""
    session = session_of(context, namespace, json)
    removed: list[Reply] = []
    for reference in references:
        query = {"namespace": session.one_namespace(), "reference": reference}
        if force:
            query["force"] = "true"
        removed += session.client.call("DELETE", "/v1/images", query)["items"]
    if session.json:
        print_json(removed)
        return
    for item in removed:
        print(f"untagged {item['untagged']}" if item["untagged"] else f"deleted {item['deleted']}")


def _names(image: Reply) -> list[str]:
    tags = [name for name in image["references"] if "@" not in name]
    return tags or image["references"] or ["<none>"]


def _follow(lines: Iterator[Reply], bars: LayerBars) -> list[Reply]:
    found: list[Reply] = []
    for line in lines:
        if "progress" in line:
            bars.update(line["progress"])
        found = line.get("images", found)
    if not found:
        raise CliError("the daemon ended the call without an answer")
    return found


def _print_found(images: list[Reply]) -> None:
    for image in images:
        print(f"{', '.join(_names(image))}  {image['id']}")


def _print_lines(lines: Iterator[Reply]) -> None:
    import json

    for line in lines:
        print(json.dumps(line), flush=True)


@contextmanager
def _opened(archive: str) -> Iterator[IO[bytes]]:
    if archive == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(archive).open("rb") as file:
            yield file
    except OSError as error:
        raise CliError(f"cannot read {archive}: {error.strerror}") from error
