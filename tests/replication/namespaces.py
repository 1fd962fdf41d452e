"""Nodes that each have a network of their own, so that a split is what the kernel makes of a link that is down."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import payload_of

PORT = 15500
TIMEOUT_SECS = 20


class Islands:
    """Networks with one node each, and one cable from each to all others. Use as a context manager."""

    def __init__(self, path: Path, names: list[str]) -> None:
        self.names = names
        self._path = path
        self._hub = f"synap-{os.getpid()}-hub"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def serve(self, name: str, *arguments: str, **env: str) -> None:
        """Start the node of a network, and wait until it is ready."""
        command = [sys.executable, "-m", "synap", "serve", "--host", self._address(name), "--port", str(PORT)]
        command += ["--data", str(self._path / name), "--insecure", *arguments]
        with (self._path / f"{name}.log").open("ab") as log:
            process = self._processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self._space(name), *command],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **env},
            )
        assert process.stdout is not None and process.stdout.readline(), (self._path / f"{name}.log").read_text()

    def url(self, name: str) -> str:
        """Where the others find a node."""
        return f"http://{self._address(name)}:{PORT}"

    def call(self, name: str, command: str, /, **payload: Any) -> Any:
        """What a client in a node's own network is answered. Raises SynapError."""
        return payload_of(self.send(name, {"command": command, "payload": payload}))

    def send(self, name: str, request: dict[str, Any]) -> Any:
        """The whole reply to a client in a node's own network."""
        with _inside(self._space(name)):
            connection = http.client.HTTPConnection(self._address(name), PORT, timeout=TIMEOUT_SECS)
            connection.connect()
        try:
            connection.request("POST", "/api/v1/command", json.dumps(request))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def cut_off(self, name: str) -> None:
        """Pull the cable of a network."""
        self._hub_ip("link", "set", "dev", name, "down")

    def join(self, name: str) -> None:
        """Plug it in again."""
        self._hub_ip("link", "set", "dev", name, "up")

    def __enter__(self) -> Islands:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for space in (self._hub, *map(self._space, self.names)):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)

    def _build(self) -> None:
        _ip_or_skip("netns", "add", self._hub)
        _ip_or_skip("-n", self._hub, "link", "add", "name", "bridge", "type", "bridge")
        self._hub_ip("link", "set", "bridge", "up")
        for name in self.names:
            space = self._space(name)
            _ip_or_skip("netns", "add", space)
            self._hub_ip("link", "add", "name", name, "type", "veth", "peer", "name", "cable", "netns", space)
            self._hub_ip("link", "set", "dev", name, "master", "bridge", "up")
            for link in ("lo", "cable"):
                _ip_or_skip("-n", space, "link", "set", "dev", link, "up")
            _ip_or_skip("-n", space, "addr", "add", f"{self._address(name)}/24", "dev", "cable")

    def _hub_ip(self, *arguments: str) -> None:
        _ip_or_skip("-n", self._hub, *arguments)

    def _space(self, name: str) -> str:
        return f"synap-{os.getpid()}-{name}"

    def _address(self, name: str) -> str:
        return f"10.77.0.{self.names.index(name) + 1}"


def _ip_or_skip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no ip program")
    if done.returncode:
        pytest.skip(f"networks may not be made here: ip {' '.join(arguments)}: {done.stderr.decode().strip()}")


@contextmanager
def _inside(space: str) -> Iterator[None]:
    """What this thread opens meanwhile is in another network."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{space}", os.O_RDONLY)
    try:
        assert libc.setns(there, 0) == 0, os.strerror(ctypes.get_errno())
        yield
    finally:
        assert libc.setns(home, 0) == 0
        os.close(there)
        os.close(home)
