"""What the runtime does: state machines and decisions, over stores and drivers."""
