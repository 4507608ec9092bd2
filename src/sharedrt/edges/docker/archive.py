"""``/containers/{id}/archive``, ``export``, ``changes``: a container's files, in and out."""

import base64
import stat
from typing import Any, Final

from aiohttp import web

from sharedrt.edges.docker.call import Call, answer, dump
from sharedrt.edges.docker.router import Route
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.drivers import PathInfo
from sharedrt.model.faults import Fault, InvalidArgument, NotFound, PermissionDenied
from sharedrt.wire.docker_time import format_time

STAT_HEADER: Final = "X-Docker-Container-Path-Stat"

_CHUNK_BYTES: Final = 256 << 10
_GO_DIR: Final = 1 << 31
_GO_TYPES: Final = {
    stat.S_IFDIR: _GO_DIR,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS: Final = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


async def head_archive(call: Call) -> web.StreamResponse:
    record, path = call.container(), _path(call)
    try:
        info = await call.runtime.files.stat(record.id, path)
    except (NotFound, InvalidArgument) as fault:
        raise _refusal(call, path, fault) from fault
    return web.Response(headers={STAT_HEADER: path_stat_header(info)})


async def get_archive(call: Call) -> web.StreamResponse:
    record, path = call.container(), _path(call)
    begun = False
    try:
        async with call.runtime.files.archive(record.id, path) as (info, chunks):
            begun = True
            headers = {STAT_HEADER: path_stat_header(info)}
            async with call.stream("application/x-tar", headers=headers) as response:
                async for chunk in chunks:
                    await response.write(chunk)
    except (NotFound, InvalidArgument) as fault:
        if begun:
            raise
        raise _refusal(call, path, fault) from fault
    return response


async def put_archive(call: Call) -> web.StreamResponse:
    record, path = call.container(), _path(call)
    work = call.runtime.files.extract(
        record.id,
        path,
        call.request.content.iter_chunked(_CHUNK_BYTES),
        keep_types=call.flag("noOverwriteDirNonDir"),
        as_user=call.flag("copyUIDGID"),
    )
    try:
        await work
    except PermissionDenied as fault:
        raise Refusal(403, f"{fault.what} {fault.reason}") from fault
    except (NotFound, InvalidArgument) as fault:
        raise _refusal(call, path, fault) from fault
    return web.Response(status=200)


def _path(call: Call) -> str:
    if not (path := call.text("path")):
        raise bad_request("bad parameter: path cannot be empty")
    return path


def _refusal(call: Call, path: str, fault: Fault) -> Fault | Refusal:
    """The container is called as the client called it."""
    match fault:
        case NotFound(kind="path"):
            name = call.params["id"]
            return Refusal(404, f"Could not find the file {path} in container {name}")
        case InvalidArgument(field="path", reason=reason):
            return bad_request(reason)
        case _:
            return fault


def path_stat_header(info: PathInfo) -> str:
    """A ContainerPathStat as the header has it: JSON in base64."""
    return base64.b64encode(
        dump(
            {
                "name": info.name,
                "size": info.size_bytes,
                "mode": go_mode(info.mode),
                "mtime": format_time(info.mtime_ns),
                "linkTarget": info.link_target,
            }
        )
    ).decode()


def go_mode(mode: int) -> int:
    """A mode of stat(2) as Go's ``os.FileMode``."""
    bits = sum(go for ours, go in _GO_BITS.items() if mode & ours)
    return _GO_TYPES.get(stat.S_IFMT(mode), 0) | bits | mode & 0o777


async def get_export(call: Call) -> web.StreamResponse:
    record = call.container()
    async with (
        call.runtime.files.export(record.id) as chunks,
        call.stream("application/octet-stream") as response,
    ):
        async for chunk in chunks:
            await response.write(chunk)
    return response


async def get_changes(call: Call) -> web.StreamResponse:
    record = call.container()
    changes = await call.runtime.files.changes(record.id)
    rendered: list[dict[str, Any]] = [{"Path": c.path, "Kind": int(c.kind)} for c in changes]
    return answer(rendered or None)


ROUTES = (
    Route("HEAD", "/containers/{id}/archive", head_archive),
    Route("GET", "/containers/{id}/archive", get_archive),
    Route("PUT", "/containers/{id}/archive", put_archive),
    Route("GET", "/containers/{id}/export", get_export),
    Route("GET", "/containers/{id}/changes", get_changes),
)
