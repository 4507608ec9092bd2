"""Passing published ports on where NAT cannot: from ``::1``, whose packets never leave the loopback, and between IPv6
on the host and a container that has IPv4 alone (or the other way round).

One process does it for all containers (:mod:`.process`), so that their bytes keep no turn of the daemon's loop. The
daemon binds the sockets and hands them over (:mod:`.client`); the process is started with the first of them, never
for a container, and ends with the daemon. Nothing is imported here: the process has the standard library alone.
"""
