"""A terminal with a program in it: what is typed goes in, what is shown comes out without colours and cursor moves."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from typing import Self

WITHIN_SECS = 20.0
ROWS, COLUMNS = 40, 160
CONTROL_C, CONTROL_D, ENTER, TAB, UP = "\x03", "\x04", "\r", "\t", "\x1b[A"
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07|[\r\x00\x07]")


class Terminal:
    """Use as a context manager; the program is killed at the end if it has not left."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._end, inner = pty.openpty()
        ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "synap", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})},
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - makes it the one that Ctrl-C goes to
        )
        os.close(inner)
        self._seen = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._end, text.encode())

    def enter(self, line: str) -> None:
        """Type a line."""
        self.type(line + ENTER)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern has been shown; what comes behind it is for the next call."""
        deadline = time.monotonic() + WITHIN_SECS
        while (found := re.search(pattern, self._seen)) is None:
            assert self._read(deadline), f"{pattern!r} was not shown but {self._seen[-2000:]!r}"
        self._seen = self._seen[found.end() :]
        return found

    def wait_until_left(self) -> int:
        """Read to the end; the exit status."""
        deadline = time.monotonic() + WITHIN_SECS
        while self._read(deadline):
            pass
        return self._process.wait(timeout=WITHIN_SECS)

    def _read(self, deadline: float) -> bool:
        readable, _, _ = select.select([self._end], [], [], max(deadline - time.monotonic(), 0))
        if not readable:
            return False
        try:
            data = os.read(self._end, 65536)
        except OSError:  # the other end is closed
            return False
        self._seen += _CONTROLS.sub("", data.decode(errors="replace"))
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._end)
