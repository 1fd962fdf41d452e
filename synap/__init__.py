"""Synap: a durable command server. `server.py` puts it together, `cli.py` is the program."""

__version__ = "0.5.0"
