"""`synap shell`: a prompt for commands, with completion, history and live subscriptions.

When standard input is no terminal it runs the lines it reads there, one after the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from synap.tools.client import Answer, Refused, Server, Unreachable
from synap.tools.connection import Connection
from synap.tools.line import Line, Unreadable, parse
from synap.tools.reference import Reference
from synap.tools.screen import WARNING, Pipe, Screen, Terminal, advice

OK, FAILED, INTERRUPTED = 0, 1, 130
LOOK_SECS = 0.2


def run(server: Server) -> int:
    """Run it until its user leaves or its input ends; the exit status."""
    try:
        return asyncio.run(_interactive(server) if sys.stdin.isatty() else _piped(server))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Unreachable as error:
        Pipe(Console(), Console(stderr=True)).fail(str(error))
        return FAILED


class Shell:
    """Runs lines, and tells what happens meanwhile."""

    def __init__(self, connection: Connection, screen: Screen, *, is_interactive: bool) -> None:
        """`is_interactive`: ask for the commands whenever there is a connection."""
        self._is_interactive = is_interactive
        self.reference = Reference()
        self.on_reference: Callable[[Reference], None] = lambda _: None
        """Called when the server has told its commands."""
        self._screen = screen
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()

    async def learn(self) -> None:
        """Ask the server for its commands. Raises Unreachable."""
        try:
            self.reference = await self._connection.reference()
        except Refused as refused:
            self._screen.fail(str(refused))
            self._screen.say(advice("", refused.failure), WARNING)
        self.on_reference(self.reference)

    async def execute(self, text: str) -> bool:
        """Run a line; says whether that succeeded."""
        word, _, rest = text.strip().partition(" ")
        try:
            match word:
                case "help":
                    if not self.reference.entries:
                        await self.learn()
                    self._screen.help(self.reference, rest.strip())
                case "unsubscribe":
                    await self.unsubscribe()
                case _:
                    return await self._run(parse(text))
        except (Unreadable, Unreachable) as error:
            self._screen.fail(str(error))
            return False
        return True

    async def unsubscribe(self) -> None:
        """End all subscriptions."""
        labels = [subscription.label for subscription in self._connection.subscriptions]
        await self._connection.end_subscriptions()
        self._screen.say(f"unsubscribed from {'; '.join(labels)}" if labels else "there are no subscriptions")

    async def _run(self, line: Line) -> bool:
        run = self._connection.attach if self.reference.attaches(line.command) else self._connection.ask
        started = time.perf_counter()
        answer = await run(line.command, line.payload)
        self._screen.answer(line.command, answer, time.perf_counter() - started)
        if answer.success and line.command == "auth.login":
            await self._become(answer)
        return answer.success

    async def _become(self, answer: Answer) -> None:
        self._connection.authorize(json.loads(bytes(answer.payload))["token"])
        self._screen.say("logged in: this is who asks from now on")
        await self.learn()

    # What happens without being asked for (connection.Listener)

    def pushed(self, frame: bytes) -> None:
        """Something has come for a subscription."""
        self._screen.pushed(frame)

    def came(self, is_again: bool) -> None:
        """There is a connection."""
        self._screen.say("connected again" if is_again else "connected")
        if self._is_interactive:
            self._spawn(self.learn())

    def went(self, reason: str, is_final: bool) -> None:
        """There is none any more, or none yet."""
        self._screen.say(f"not connected: {reason}" + ("" if is_final else "; trying again"), WARNING)

    def resumed(self, label: str, answer: Answer) -> None:
        """A subscription goes on after a break, or cannot."""
        if answer.error is None:
            self._screen.say(f"subscribed again to {label}")
        else:
            self._screen.fail(f"{label} ended: {answer.error.message}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with suppress(Unreachable):
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


# At a terminal


async def _interactive(server: Server) -> int:
    from synap.tools import prompt

    screen = Terminal(Console())
    screen.say(f"Synap at {server.url}; help explains, Ctrl-D leaves")
    with prompt.above():
        async with Connection.open(server) as connection:
            shell = Shell(connection, screen, is_interactive=True)
            session = prompt.session(_history_file(), shell)
            connection.begin(shell)
            while True:
                try:
                    text = await session.prompt_async("synap> ")
                except EOFError:
                    return OK
                except KeyboardInterrupt:
                    if any(connection.subscriptions):
                        await shell.unsubscribe()
                    continue
                if text.strip() in ("exit", "quit"):
                    return OK
                if text.strip() and not await _until_interrupted(shell.execute(text)):
                    screen.say("broken off", WARNING)


async def _until_interrupted(work: Coroutine[Any, Any, object]) -> bool:
    """Do it unless Ctrl-C comes; says whether it was done."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await asyncio.wait([task])
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    if task.cancelled():
        return False
    task.result()
    return True


def _history_file() -> Path:
    """Where lines are kept from one time to the next."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "synap" / "history"


# In a pipe


async def _piped(server: Server) -> int:
    """Run the lines; with subscriptions left at the end, go on until the program is stopped."""
    screen = Pipe(Console(soft_wrap=True), Console(stderr=True, soft_wrap=True))
    status = OK
    async with Connection.open(server) as connection:
        shell = Shell(connection, screen, is_interactive=False)
        connection.begin(shell)
        async for text in _lines():
            if text.strip() and not text.lstrip().startswith("#") and not await shell.execute(text):
                status = FAILED
        while any(connection.subscriptions):
            await asyncio.sleep(LOOK_SECS)
    return status


async def _lines() -> AsyncIterator[str]:
    """Those of standard input. A thread waits for them, which does not keep the program from ending."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    while line := await lines.get():
        yield line
