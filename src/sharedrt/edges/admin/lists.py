"""Listings, and the few changes of namespaces."""

from typing import Any

from aiohttp import web

from sharedrt.edges.admin.requests import (
    RUNTIME,
    json_body,
    label_field,
    wanted_namespaces,
)
from sharedrt.edges.admin.views import (
    blob_view,
    container_view,
    image_view,
    namespace_view,
    pod_view,
    version_view,
)
from sharedrt.model.ids import parse_namespace


def _items(items: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"items": items})


async def get_version(request: web.Request) -> web.Response:
    return web.json_response(version_view(request.app[RUNTIME].host))


async def get_namespaces(request: web.Request) -> web.Response:
    runtime = request.app[RUNTIME]
    records = await runtime.all_namespaces.list()
    return _items([namespace_view(r, runtime.within(r.name)) for r in records])


async def post_namespace(request: web.Request) -> web.Response:
    name = parse_namespace(request.match_info["name"])
    labels = label_field(await json_body(request), "labels")
    runtime = request.app[RUNTIME]
    record = await runtime.all_namespaces.create(name, labels)
    return web.json_response(namespace_view(record, runtime.within(name)), status=201)


async def delete_namespace(request: web.Request) -> web.Response:
    name = parse_namespace(request.match_info["name"])
    await request.app[RUNTIME].all_namespaces.delete(name)
    return web.json_response({})


async def get_containers(request: web.Request) -> web.Response:
    runtime = request.app[RUNTIME]
    return _items(
        [
            container_view(namespace, record)
            for namespace in wanted_namespaces(request)
            for record in runtime.within(namespace).containers.list()
        ]
    )


async def get_pods(request: web.Request) -> web.Response:
    runtime = request.app[RUNTIME]
    found = []
    for namespace in wanted_namespaces(request):
        pods = runtime.within(namespace).pods
        found += [pod_view(namespace, r, len(pods.containers_of(r.id))) for r in pods.list()]
    return _items(found)


async def get_images(request: web.Request) -> web.Response:
    runtime = request.app[RUNTIME]
    return _items(
        [
            image_view(namespace, image)
            for namespace in wanted_namespaces(request)
            for image in runtime.within(namespace).images.list()
        ]
    )


async def get_content(request: web.Request) -> web.Response:
    runtime = request.app[RUNTIME]
    found = []
    for namespace in wanted_namespaces(request):
        blobs = await runtime.within(namespace).content.list()
        found += [blob_view(namespace, blob) for blob in blobs]
    return _items(found)
