"""asyncio helpers that know nothing of containers."""
