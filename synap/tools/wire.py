"""HTTP/1.1 for load generators: requests made once, responses found in what has arrived with next to no parsing."""

from __future__ import annotations

import re

HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def opening(path: str = "/api/v1/command", headers: dict[str, str] | None = None) -> bytes:
    """The beginning that all requests with JSON in them have in common; for `post`."""
    told = {"Host": "synap", "Content-Type": "application/json", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {path} HTTP/1.1\r\n{lines}Content-Length: ".encode("latin-1")


def post(body: bytes, opening: bytes = opening()) -> bytes:
    """A request."""
    return b"%b%d\r\n\r\n%b" % (opening, len(body), body)


def response_end(received: bytes, start: int = 0) -> int:
    """Where the response that begins at `start` ends; 0 while it is incomplete."""
    head_end = received.find(HEAD_END, start) + len(HEAD_END)
    if head_end < len(HEAD_END):
        return 0
    found = _CONTENT_LENGTH.search(received, start, head_end)
    if found is None:
        return 0
    end = head_end + int(found[1])
    return end if end <= len(received) else 0
