"""tar as bytes in, events out: ustar, GNU and pax archives, as layers of images come.

Imports little, since the processes that unpack layers start with it.
"""
