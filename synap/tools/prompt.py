"""The prompt itself: prompt_toolkit with Synap's completion and a history that keeps no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import StdoutProxy
from prompt_toolkit.shortcuts import CompleteStyle

from synap.tools.completion import WORDS, CommandCompleter
from synap.tools.reference import Reference
from synap.tools.shell import Shell

GATHER_SECS = 0.02
"""How long what is printed waits for more, so that a flood of events redraws the prompt now and then only."""


class DiscreetHistory(FileHistory):
    """Keeps lines in a file of this user alone, but those whose command is known to hold no secret only."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        super().__init__(str(file))
        self.reference = Reference()

    def store_string(self, string: str) -> None:
        """Write a line down, or not."""
        command = string.split(maxsplit=1)[0] if string.strip() else ""
        if command in WORDS or self.reference.may_be_written_down(command):
            super().store_string(string)


def session(history_file: Path, shell: Shell) -> PromptSession[str]:
    """A prompt that knows what the shell learns. Without a writable file, the history ends with the program."""
    completer = CommandCompleter()
    history: History
    try:
        history = DiscreetHistory(history_file)
    except OSError:
        history = InMemoryHistory()

    def learned(reference: Reference) -> None:
        completer.reference = reference
        if isinstance(history, DiscreetHistory):
            history.reference = reference

    shell.on_reference = learned
    return PromptSession(history=history, completer=completer, complete_style=CompleteStyle.COLUMN)


@contextmanager
def above() -> Iterator[None]:
    """What is printed meanwhile comes above the prompt."""
    with (
        StdoutProxy(sleep_between_writes=GATHER_SECS, raw=True) as proxy,
        redirect_stdout(proxy),
        redirect_stderr(proxy),
    ):
        yield
