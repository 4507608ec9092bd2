"""Measurements beside Debian's containerd and dockerd, in one run: ``python -m tests.bench``.

Needs root and the Debian packages that ``tests/run`` installs. All three daemons have folders, sockets, bridges,
subnets and cgroup parents of this run's own, and are ended by their pids.
"""
