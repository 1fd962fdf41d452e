"""The limit: what a Python server could answer if parsing, executing and journalling were free.

A uvloop protocol that takes every read for one whole request and answers a constant, as long as a typical
reply of Synap. It batches replies at the end of the tick as the command lane does, so that what is left
between the two is the work Synap does per request. Run as a program it prints its port when it is ready.
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

BODY = (
    b'{"type":"response","request_id":"0123456789abcdef-1234567","status":"success","success":true,'
    b'"payload":{"found":true,"value":"abc","ttl":null}}'
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: constant\r\n\r\n%b" % (len(BODY), BODY)
)


class Constant(asyncio.Protocol):
    """One connection."""

    owed: list[Constant] = []
    """The connections, all of them together, that a reply is due on at the end of this tick."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if not self.owed:
            self._loop.call_soon(flush)
        self.owed.append(self)

    def reply(self) -> None:
        self._transport.write(RESPONSE)


def flush() -> None:
    owed, Constant.owed = Constant.owed, []
    for connection in owed:
        connection.reply()


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", 0)
    print(f"ready at http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
