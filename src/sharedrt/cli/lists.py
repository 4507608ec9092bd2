"""``namespaces``, ``containers``, ``pods``, ``content``."""

from collections.abc import Callable, Sequence

import typer

from sharedrt.cli.client import Reply
from sharedrt.cli.errors import USAGE, CliError
from sharedrt.cli.output import age, labels, print_json, print_table, short, size
from sharedrt.cli.session import JsonOption, NamespaceOption, Session, session_of

namespaces_app = typer.Typer(help="Namespaces: list, create, remove.", no_args_is_help=False)


def listing(
    session: Session,
    path: str,
    headers: Sequence[str],
    row: Callable[[Reply], Sequence[str]],
    keep: Callable[[Reply], bool] = lambda _: True,
) -> None:
    """Fetch a listing and print it."""
    items = [item for item in session.client.items(path, session.query) if keep(item)]
    if session.json:
        print_json(items)
    else:
        print_table(headers, [row(item) for item in items])


@namespaces_app.callback(invoke_without_command=True)
def namespaces(context: typer.Context, json: JsonOption = False) -> None:
    """List namespaces, with what they hold."""
    if context.invoked_subcommand is None:
        _list_namespaces(session_of(context, None, json))


@namespaces_app.command("ls")
def namespaces_ls(context: typer.Context, json: JsonOption = False) -> None:
    """List namespaces, with what they hold."""
    _list_namespaces(session_of(context, None, json))


def _list_namespaces(session: Session) -> None:
    listing(
        session,
        "/v1/namespaces",
        ("NAMESPACE", "CONTAINERS", "PODS", "IMAGES", "LABELS"),
        lambda n: (
            n["name"],
            str(n["containers"]),
            str(n["pods"]),
            str(n["images"]),
            labels(n["labels"]),
        ),
        keep=lambda n: session.namespace in ("", n["name"]),
    )


@namespaces_app.command("create")
def namespaces_create(
    context: typer.Context,
    name: str,
    label: list[str] = typer.Argument(default=None, metavar="[KEY=VALUE]..."),  # noqa: B008
) -> None:
    """Create a namespace."""
    pairs = [text.partition("=") for text in label or []]
    if wrong := [key for key, equals, _ in pairs if not (key and equals)]:
        raise CliError(f"label {wrong[0]!r} is not KEY=VALUE", USAGE)
    body = {"labels": {key: value for key, _, value in pairs}}
    session_of(context).client.call("POST", f"/v1/namespaces/{_quoted(name)}", body=body)


@namespaces_app.command("rm")
def namespaces_rm(context: typer.Context, name: str) -> None:
    """Remove an empty namespace."""
    session_of(context).client.call("DELETE", f"/v1/namespaces/{_quoted(name)}")


def containers(
    context: typer.Context, namespace: NamespaceOption = None, json: JsonOption = False
) -> None:
    """List containers, running or not."""
    listing(
        session_of(context, namespace, json),
        "/v1/containers",
        ("NAMESPACE", "CONTAINER", "NAME", "IMAGE", "STATE", "PID", "AGE", "POD"),
        lambda c: (
            c["namespace"],
            short(c["id"]),
            c["name"],
            c["image"],
            f"{c['state']} ({c['exit_code']})" if c["state"] == "exited" else c["state"],
            str(c["pid"]) if c["state"] in ("running", "paused") else "",
            age(c["created_ns"]),
            short(c["pod"]),
        ),
    )


def pods(
    context: typer.Context, namespace: NamespaceOption = None, json: JsonOption = False
) -> None:
    """List pods."""
    listing(
        session_of(context, namespace, json),
        "/v1/pods",
        ("NAMESPACE", "POD", "NAME", "POD NAMESPACE", "STATE", "ADDRESS", "CONTAINERS", "AGE"),
        lambda p: (
            p["namespace"],
            short(p["id"]),
            p["name"],
            p["pod_namespace"],
            p["state"].replace("_", " "),
            ",".join(p["addresses"]),
            str(p["containers"]),
            age(p["created_ns"]),
        ),
    )


def content(
    context: typer.Context, namespace: NamespaceOption = None, json: JsonOption = False
) -> None:
    """List blobs, once for each namespace that may see them."""
    listing(
        session_of(context, namespace, json),
        "/v1/content",
        ("NAMESPACE", "DIGEST", "SIZE", "TYPE", "AGE"),
        lambda b: (
            b["namespace"],
            b["digest"],
            size(b["size_bytes"]),
            b["media_type"],
            age(b["created_ns"]),
        ),
    )


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
