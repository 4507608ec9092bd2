"""Code generated from proto/; imported by edges alone."""
