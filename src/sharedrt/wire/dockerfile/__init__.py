"""Dockerfiles: text in, checked instructions by stage out. Pure; nothing is looked up and nothing is run.

Spec: the Dockerfile reference. In the order of the work: ``directives`` and ``lines`` make logical lines with their
here-documents, ``flags`` takes ``--name=value`` off them, ``mounts`` and ``instructions`` check each kind,
``stages`` puts them together; ``expand`` is the substitution of variables, which happens when a step runs.
"""

from sharedrt.wire.dockerfile.errors import DockerfileError
from sharedrt.wire.dockerfile.expand import Expander
from sharedrt.wire.dockerfile.stages import Dockerfile, Stage, parse_dockerfile, parse_trigger

__all__ = [
    "Dockerfile",
    "DockerfileError",
    "Expander",
    "Stage",
    "parse_dockerfile",
    "parse_trigger",
]
