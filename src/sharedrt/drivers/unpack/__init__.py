"""Layers to folders and back, in worker processes that see nothing else.

The daemon starts one small helper when the first layer comes (``unpacker.py``, ``zygote.py``); it has no
network and few capabilities, and forks a worker for each layer (``worker.py``). A worker chroots into the
layer's folder, gives up what is left (``confine.py``), and then reads its first untrusted byte
(``streams.py``, ``apply.py``). The helper ends with the daemon, or when it has had nothing to do.

What the worker's side imports is kept small: it must start fast and weigh little.
"""
