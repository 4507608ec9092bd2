"""What the runtime talks about: ids, records, faults, and the Protocols that stores and drivers implement.

No I/O, no external calls, no loop: values and contracts only.
"""
