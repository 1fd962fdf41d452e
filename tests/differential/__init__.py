"""Synap and a real Redis given the same operations: every result and the state they leave must be the same."""
