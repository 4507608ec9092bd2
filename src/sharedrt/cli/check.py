"""``check`` and ``version``: what this host lacks, and what runs here."""

import typer

from sharedrt import __version__
from sharedrt.cli.client import Reply
from sharedrt.cli.errors import FAILED, NoDaemon
from sharedrt.cli.output import age, print_json, print_table
from sharedrt.cli.session import JsonOption, Session, session_of


def check(context: typer.Context, json: JsonOption = False) -> None:
    """Say what this host lacks and what to do about it; exit code 1 when containers cannot run.

    The daemon is asked when it runs, since its view counts; otherwise this program looks by itself.
    """
    session = session_of(context, None, json)
    findings = _findings(session)
    if session.json:
        print_json(findings)
    else:
        print_table(
            ("LEVEL", "SUBJECT", "FINDING"),
            [(f["level"], f["subject"], f["detail"]) for f in findings],
        )
        for finding in findings:
            if finding["cure"]:
                print(f"\n{finding['subject']}:\n    {finding['cure']}")
    if any(f["level"] == "error" for f in findings):
        raise typer.Exit(FAILED)


def version(context: typer.Context, json: JsonOption = False) -> None:
    """Print the versions of this program and of the daemon."""
    session = session_of(context, None, json)
    try:
        daemon: Reply | None = session.client.call("GET", "/v1/version")
    except NoDaemon as error:
        daemon = None
        problem = str(error)
    else:
        problem = ""
    if session.json:
        print_json({"client": {"version": __version__}, "daemon": daemon})
        return
    print(f"sharedrt   {__version__}")
    if daemon is None:
        print(f"sharedrtd  {problem}")
        return
    print(f"sharedrtd  {daemon['version']}, up {age(daemon['started_ns']) or '0s'}")
    for name, text in daemon["components"].items():
        print(f"  {name}  {text}")
    print(f"  default runtime  {daemon['default_runtime']}")
    print(f"  cgroups  v{daemon['cgroup_version']}, {daemon['cgroup_driver']}")


def _findings(session: Session) -> list[Reply]:
    address = session.admin_socket()
    try:
        found = session.client.items("/v1/check")
    except NoDaemon as error:
        return [
            _finding("daemon", "warning", str(error), "systemctl start sharedrt, or deploy/up"),
            *_look_here(session),
        ]
    return [*found, _finding("daemon", "ok", f"answers at {address}", "")]


def _look_here(session: Session) -> list[Reply]:
    from sharedrt.drivers.hostcheck import check_host

    return [
        _finding(f.subject, f.level.value, f.detail, f.cure)
        for f in check_host(session.configuration())
    ]


def _finding(subject: str, level: str, detail: str, cure: str) -> Reply:
    return {"subject": subject, "level": level, "detail": detail, "cure": cure}
