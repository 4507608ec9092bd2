"""``GET /containers/{id}/top``: what runs in a container, by the host's ``ps``."""

import asyncio
import re
import shutil
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.faults import FailedPrecondition

_DEFAULT_ARGS: Final = "-ef"
_TIMEOUT_S: Final = 10.0
_RENAMED: Final = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def get_containers_top(call: Call) -> web.StreamResponse:
    record = call.container()
    args = call.text("ps_args") or _DEFAULT_ARGS
    if call.runtime.containers.restarting(record.id):
        raise Refusal(
            409, f"container {record.id} is restarting, wait until the container is running"
        )
    try:
        pids = await call.runtime.containers.processes(record.id)
    except FailedPrecondition as fault:
        raise Refusal(409, f"container {record.id} is not running") from fault
    output = await _ps(args, pids)
    titles, processes = parse_ps(output, set(pids))
    attributes = {**record.labels, "image": record.image_reference, "name": record.name}
    await call.runtime.events.publish("container", "top", record.id, attributes)
    return answer({"Titles": titles, "Processes": processes})


async def _ps(args: str, pids: Sequence[int]) -> str:
    """Run ``ps`` with the client's options.

    Only the container's own processes are asked for first (``-q``); not every option goes with that, so a
    second try lists all, and the caller picks.
    """
    binary = shutil.which("ps")
    if binary is None:
        raise Refusal(500, "the host has no ps (package procps)")
    words = args.split()
    for column, title in _RENAMED.findall(f" {' '.join(words)}"):
        if column != "pid":
            # Another column under that title would show processes of others.
            raise bad_request(f'specifying "{column}={title}" is not allowed')
    for word in words:
        if not re.fullmatch(r"[\w\-=,:+%.]+", word):
            raise bad_request(f"invalid ps_args: {word!r}")
    code, out, err = await _run(binary, *words, "-q" + ",".join(map(str, pids)))
    if code != 0:
        code, out, err = await _run(binary, *words)
    if code != 0:
        said = err.partition("\n")[0].strip()
        raise Refusal(500, f"ps: {said or f'exit code {code}'}")
    return out


async def _run(*argv: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, err = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
    return process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def parse_ps(output: str, pids: set[int]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the processes among ``pids``; the last column takes the rest of its line. A row with ``-``
    for a number is a thread of the process before it.

    Raises:
        Refusal: no PID column, by which alone rows can be told apart.
    """
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Refusal(500, "Couldn't find PID field in ps output")
    pid_column = titles.index("PID")
    rows = []
    ours = False
    for line in lines[1:]:
        cells = line.split(None, len(titles) - 1)
        if len(cells) <= pid_column:
            continue
        if (pid := cells[pid_column]) != "-":
            ours = pid.isdecimal() and int(pid) in pids
        if ours:
            rows.append(cells)
    return titles, rows


ROUTES = (Route("GET", "/containers/{id}/top", get_containers_top),)
