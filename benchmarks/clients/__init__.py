"""Programs that load a server where wrk cannot: other protocols, WebSockets, a fixed pace.

Each runs as a process of its own, is told its job as JSON and prints what it found as JSON. All are uvloop and raw
protocols that parse as little as they can, so that the peers' clients differ in what they send and in nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from benchmarks.load import LoadFailed

ROOT = Path(__file__).parents[2]
STOP_SECS_MAX = 30.0

R = TypeVar("R")


def run(name: str, job: msgspec.Struct, found: type[R]) -> R:
    """Run a client to its end. Raises LoadFailed."""
    done = subprocess.run(_command(name, job), check=False, capture_output=True, cwd=ROOT)
    if done.returncode:
        raise LoadFailed(f"client {name} ended with {done.returncode}: {done.stderr[-1000:].decode()}")
    return msgspec.json.decode(done.stdout, type=found)


@contextmanager
def holding(name: str, job: msgspec.Struct) -> Iterator[None]:
    """A client that prints a line when it has done what it should, and stays as it is until it is stopped."""
    command = _command(name, job)
    popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert popen.stdout is not None and popen.stderr is not None
    try:
        if not popen.stdout.readline():
            raise LoadFailed(f"client {name} ended: {popen.stderr.read()[-1000:].decode()}")
        yield
    finally:
        popen.terminate()
        try:
            popen.communicate(timeout=STOP_SECS_MAX)
        finally:
            popen.kill()


def _command(name: str, job: msgspec.Struct) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.clients.{name}", msgspec.json.encode(job).decode()]
