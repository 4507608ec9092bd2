"""Linux namespaces, bridges, one nftables table, and CNI: how containers get onto a network.

All netlink and nftables work runs on one thread of its own (:mod:`.worker`); no process is started for a
container, except the CNI plugins that an administrator configured.
"""
