"""Doors: each translates one protocol to services and back; no SQL, no processes, no policy."""
