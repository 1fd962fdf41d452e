"""A server that dies and comes back on its port."""

from __future__ import annotations

from pathlib import Path

from tests.support import ServerProcess


class Restarting:
    """A server that may be killed, and started again where it was."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.process = ServerProcess(data)
        self.url = self.process.url
        self._port = str(self.process.port)

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process = ServerProcess(self._data, "--port", self._port)

    def stop(self) -> None:
        if self.process.process.poll() is None:
            self.process.stop()
