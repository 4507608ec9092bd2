"""Containers through conmon and an OCI runtime: rendering the bundle, starting, watching, attaching, executing.

``OciDriver`` is the whole; the files beside it are one idea each. Knows no store, no policy, and of cgroups only
what ``ports.Cgroups`` says.
"""
