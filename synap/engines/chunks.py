"""Dumping in chunks, so that neither a chunk nor the memory to make it grows too big."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

CHUNK_BYTES = 16 * 1024 * 1024
"""Memory of the rows in a chunk that ends it."""


def chunked(rows: Iterable[tuple[Any, int]], chunk_rows: int) -> Iterator[list[Any]]:
    """Rows, each with about how much memory it takes, in chunks of up to `chunk_rows`, of fewer when they are large."""
    chunk: list[Any] = []
    used_bytes = 0
    for row, row_bytes in rows:
        chunk.append(row)
        used_bytes += row_bytes
        if len(chunk) == chunk_rows or used_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, used_bytes = [], 0
    if chunk:
        yield chunk
