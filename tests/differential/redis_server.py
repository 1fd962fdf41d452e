"""A redis-server of our own on a Unix socket, and a connection that gives its replies as they come."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import ResponseError

Argument = str | bytes | int | float
Argv = Sequence[Argument]

BINARY = shutil.which("redis-server")
STARTS_WITHIN_SECS = 30
REPLIES_WITHIN_SECS = 60


class RedisServer:
    """`redis-server` without persistence. Use as a context manager: it is gone at the end."""

    def __init__(self) -> None:
        assert BINARY is not None
        # The path of a socket has to be short, which pytest's directories are not.
        self._directory = tempfile.TemporaryDirectory(prefix="synap-redis-")
        self._log = Path(self._directory.name) / "log"
        socket = str(Path(self._directory.name) / "socket")
        options = {"port": "0", "unixsocket": socket, "save": "", "appendonly": "no", "dir": self._directory.name}
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([BINARY, *arguments], stdout=log, stderr=log)
        connect: Any = UnixDomainSocketConnection  # untyped
        self._connection = connect(path=socket, protocol=2, socket_timeout=REPLIES_WITHIN_SECS)

    def __enter__(self) -> RedisServer:
        deadline = time.monotonic() + STARTS_WITHIN_SECS
        while True:
            try:
                self._connection.connect()
                return self
            except NotConnected:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()
        self._process.terminate()
        self._process.wait()
        self._directory.cleanup()

    def execute(self, commands: Sequence[Argv]) -> list[Any]:
        """The replies to commands sent together: bytes, int, None, a list of them, or a ResponseError."""
        self._connection.send_packed_command(self._connection.pack_commands(commands))
        return [self._reply() for _ in commands]

    def _reply(self) -> Any:
        try:
            return self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            return error
