"""A WebSocket on an asyncio transport."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import cast

from synap_sdk._address import Address
from synap_sdk._failure import SynapConnectionError, SynapError
from synap_sdk._frames import Frames

HEARTBEAT_SECS = 20.0
"""After so long without a word from the server it is asked for one; after twice that it is gone."""


CLOSE_SECS_MAX = 2.0


class Socket(asyncio.Protocol):
    """One connection. `take` gets every message; `lost` is called once, when it is over."""

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        take: Callable[[bytes], object],
        lost: Callable[[str], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(address, headers)
        self._take = take
        self._lost = lost
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._heard_at = self._loop.time()
        self._heartbeat: asyncio.TimerHandle | None = None
        self._is_reading = True
        self.is_paused = False
        """The system takes no more for the moment; `on_resume` is called when it does."""
        self.on_resume: Callable[[], object] = lambda: None

    @classmethod
    async def open(
        cls,
        address: Address,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        take: Callable[[bytes], object],
        lost: Callable[[str], object],
    ) -> Socket:
        """Connect. Raises SynapError: what the server refuses with, or SynapConnectionError."""
        loop = asyncio.get_running_loop()
        try:
            _, socket = await loop.create_connection(
                lambda: cls(address, headers, take, lost), address.host, address.port, ssl=address.context(tls)
            )
        except OSError as error:
            raise SynapConnectionError(f"cannot connect to {address}: {error.strerror or error}") from error
        try:
            await socket._opened
        except BaseException:
            socket.abort()
            raise
        return socket

    def send(self, message: bytes) -> None:
        """Write a message."""
        self._frames.send(message)
        self._flush()

    def send_all(self, messages: list[bytes]) -> None:
        """Write several messages in one go."""
        for message in messages:
            self._frames.send(message)
        self._flush()

    def close(self) -> None:
        """Say goodbye and end the connection."""
        if self._transport is not None and not self._transport.is_closing():
            self._frames.close()
            self._flush()
            self._transport.close()

    async def wait_closed(self) -> None:
        """Until the connection is gone, or has taken too long for that."""
        await asyncio.wait([self._gone], timeout=CLOSE_SECS_MAX)
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def read(self, is_wanted: bool) -> None:
        """Read on, or leave what comes with the system."""
        if self._transport is None or is_wanted == self._is_reading or self._transport.is_closing():
            return
        self._is_reading = is_wanted
        if is_wanted:
            self._heard_at = self._loop.time()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._heartbeat = self._loop.call_later(HEARTBEAT_SECS, self._beat)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            messages = self._frames.receive(data)
        except SynapError as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            self.abort()
            return
        if self._frames.is_open and not self._opened.done():
            self._opened.set_result(None)
        for message in messages:
            self._take(message)
        self._flush()
        if self._frames.is_over and self._transport is not None:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._gone.set_result(None)
        if not self._opened.done():
            self._opened.set_exception(SynapConnectionError(self._frames.reason()))
            return
        self._lost(self._frames.reason())

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.on_resume()

    def _flush(self) -> None:
        data = self._frames.to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _beat(self) -> None:
        silent_secs = self._loop.time() - self._heard_at
        if self._is_reading and silent_secs > 2 * HEARTBEAT_SECS:
            self.abort()
            return
        if self._is_reading and silent_secs >= HEARTBEAT_SECS / 2:
            self._frames.ping()
            self._flush()
        self._heartbeat = self._loop.call_later(HEARTBEAT_SECS, self._beat)
