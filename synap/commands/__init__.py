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
    pubsub,
    queue,
    queue_consuming,
    queue_dead_letters,
    set,
    sortedset,
    sortedset_algebra,
    stream,
    stream_consuming,
    system,
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
    "pubsub",
    "queue",
    "queue_consuming",
    "queue_dead_letters",
    "set",
    "sortedset",
    "sortedset_algebra",
    "stream",
    "stream_consuming",
    "system",
]
