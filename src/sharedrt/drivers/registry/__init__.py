"""Registries over HTTP (OCI distribution spec): resolve, pull, push, log in."""

from sharedrt.drivers.registry.client import HttpRegistry

__all__ = ["HttpRegistry"]
