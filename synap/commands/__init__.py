"""What a client may ask: one module per namespace, with payload types and handlers.

Importing this package fills the command table. Read table.py first, then kv.py.
"""

from synap.commands import (
    admin,
    bitmap,
    geospatial,
    hash,
    hyperloglog,
    key,
    keyspace,
    kv,
    list,
    memory,
    set,
    sortedset,
    sortedset_algebra,
)
from synap.commands.table import TABLE

__all__ = [
    "TABLE",
    "admin",
    "bitmap",
    "geospatial",
    "hash",
    "hyperloglog",
    "key",
    "keyspace",
    "kv",
    "list",
    "memory",
    "set",
    "sortedset",
    "sortedset_algebra",
]
