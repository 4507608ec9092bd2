"""overlayfs snapshots: folders, mounts and their removal."""
