"""Long runs, each a command of its own: ``python -m tests.soak.pods``. The suite has a short form of each."""
