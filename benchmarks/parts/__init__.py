"""What is measured: one module a part, each with a `run` that returns its table."""
