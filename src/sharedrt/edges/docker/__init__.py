"""The Docker door: the Engine API 1.24 to 1.51 over HTTP, one app for one namespace.

Handlers parse, make one service call, and render. They hold no policy, know no store and no driver.

    gate.py            the connection: peers, HTTP, hijacked streams
    app.py  serve.py   the application, and the sockets that it is served on
    routes.py          all routes; one module a noun has its handlers
    versions.py        what the API's versions say differently
    words.py           faults in Docker's words
    translate_*.py     requests into the services' terms;  render_*.py: records into Docker's JSON
"""

from sharedrt.edges.docker.app import make_docker_app
from sharedrt.edges.docker.call import DockerSettings
from sharedrt.edges.docker.serve import DockerServer, serve

__all__ = ["DockerServer", "DockerSettings", "make_docker_app", "serve"]
