"""Completion at the shell's prompt: commands, their fields, and values where these are few."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from synap.tools.reference import Entry, Reference
from synap.tools.screen import described

WORDS = {
    "help": "explain a command, or list them",
    "unsubscribe": "end all subscriptions",
    "exit": "leave",
}
"""What the shell does itself."""

_GIVEN = re.compile(r"(?:^|\s)([^\s=]+)=")


class CommandCompleter(Completer):
    """Knows what the server has told of its commands so far."""

    def __init__(self) -> None:
        self.reference = Reference()

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What may stand where the cursor is."""
        before = document.text_before_cursor.lstrip()
        command, blank, rest = before.partition(" ")
        if not blank:
            return self._commands(command, WORDS)
        if command == "help":
            return self._commands(rest.lstrip(), {})
        entry = self.reference.entries.get(command)
        if entry is None or rest.lstrip().startswith(("{", "[")):
            return ()
        return _fields(entry, rest)

    def _commands(self, typed: str, words: dict[str, str]) -> Iterator[Completion]:
        """Namespaces until there is a dot, commands behind it."""
        named = dict(words)
        if "." in typed:
            named |= {entry.name: entry.summary for entry in self.reference.entries.values()}
        else:
            for namespace, entries in self.reference.namespaces().items():
                named[f"{namespace}."] = f"{len(entries)} command{'s' * (len(entries) > 1)}"
        for name, summary in named.items():
            if name.startswith(typed):
                yield Completion(name, -len(typed), display_meta=summary)


def _fields(entry: Entry, typed: str) -> Iterator[Completion]:
    word = re.split(r"\s", typed)[-1]
    name, equals, value = word.partition("=")
    if equals:
        for field in entry.fields:
            if field.name == name:
                yield from (Completion(c, -len(value)) for c in field.choices if c.startswith(value))
        return
    given = set(_GIVEN.findall(typed))
    for field in entry.fields:
        if field.name.startswith(word) and field.name not in given:
            yield Completion(f"{field.name}=", -len(word), display_meta=described(field))
