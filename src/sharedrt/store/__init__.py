"""SQL and nothing else: the database of all namespaces, seen one namespace at a time."""
