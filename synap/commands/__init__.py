"""What a client may ask: one module per namespace, with payload types and handlers.

Importing this package fills the command table. Read table.py first, then kv.py.
"""

from synap.commands import admin, hash, key, keyspace, kv, memory
from synap.commands.table import TABLE

__all__ = ["TABLE", "admin", "hash", "key", "keyspace", "kv", "memory"]
