"""Long runs. Each has a command, and a short form among the real tests."""
