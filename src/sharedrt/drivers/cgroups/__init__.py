"""Control groups, v1 and v2: where they are, what they say, and making and removing them.

Pure parsing (``parse``, ``mountinfo``) stands apart from reading files. Knows nothing of containers: a cgroup here
is a path below the root of each hierarchy, such as ``/kubepods/burstable/pod1``.
"""

from sharedrt.drivers.cgroups.features import CgroupFeatures
from sharedrt.drivers.cgroups.manager import CgroupManager
from sharedrt.drivers.cgroups.mountinfo import Hierarchies
from sharedrt.drivers.cgroups.paths import CgroupDriver, CgroupName

__all__ = ["CgroupDriver", "CgroupFeatures", "CgroupManager", "CgroupName", "Hierarchies"]
