"""`make bench`: what Synap does per second, per byte and per start, beside its peers on the same machine."""
