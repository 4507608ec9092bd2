"""Builds of one namespace: Dockerfiles run step by step, by the classic builder's rules.

``service`` takes a build in; ``plan`` says which stages it needs; ``stage`` runs one stage's steps: ``configure`` those
that change the image's configuration alone, ``copying`` COPY and ADD, ``running`` RUN; ``cache`` remembers them.
"""

from sharedrt.services.builds.errors import BuildFailed, PullFailed
from sharedrt.services.builds.events import BuildEvent, BuildText, ImageBuilt, PullStep
from sharedrt.services.builds.request import BuildRequest, RunTemplate
from sharedrt.services.builds.service import Builds, CacheEntry

__all__ = [
    "BuildEvent",
    "BuildFailed",
    "BuildRequest",
    "BuildText",
    "Builds",
    "CacheEntry",
    "ImageBuilt",
    "PullFailed",
    "PullStep",
    "RunTemplate",
]
