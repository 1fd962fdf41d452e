"""How the shell shows what it is told: on a terminal for people, in a pipe one line of JSON an answer for programs."""

from __future__ import annotations

import json
from typing import Any, Protocol

import msgspec
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from synap.tools import json_text
from synap.tools.client import Answer, Failure
from synap.tools.reference import Entry, Field, Reference

BAD, FAINT, WARNING = "red", "dim", "yellow"
_highlight = JSONHighlighter()

ADVICE = {
    "UNAUTHORIZED": "start with --api-key KEY, or log in: auth.login username=NAME password=PASSWORD",
    "FORBIDDEN": "auth.me shows what you may do",
    "UNKNOWN_COMMAND": "help lists the commands",
    "INVALID_PAYLOAD": "help {command} shows the fields",
    "READ_ONLY": "this is a replica; writes belong to the master: {master}",
    "RATE_LIMIT_EXCEEDED": "wait {retry_after_secs} s",
    "ACK_TIMEOUT": "the write is on the master, and will be on the replicas when they come back",
    "QUEUE_NOT_FOUND": "queue.list shows the queues, queue.create makes one",
    "ROOM_NOT_FOUND": "stream.rooms shows the rooms; create=true waits for one",
    "GROUP_NOT_FOUND": "stream.groups shows the groups of a room",
    "MASTER_ALIVE": "force=true promotes all the same",
    "UNAVAILABLE": "try again in a moment; admin.health tells how the server is",
    "DISK_FULL": "reads go on; free some space and try again",
    "INTERNAL_ERROR": "the server's log tells more under incident {incident}",
}
"""What to do about an error, with names from its details."""


class Screen(Protocol):
    """Where the shell shows things."""

    def answer(self, command: str, answer: Answer, seconds: float) -> None:
        """The answer to a command, and how long it took."""

    def pushed(self, frame: bytes) -> None:
        """What has come for a subscription."""

    def say(self, text: str, style: str = FAINT) -> None:
        """Tell a person something."""

    def fail(self, text: str) -> None:
        """Tell what went wrong."""

    def help(self, reference: Reference, subject: str) -> None:
        """Explain a command, a namespace, or all there is."""


class Terminal:
    """For people."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def answer(self, command: str, answer: Answer, seconds: float) -> None:
        """See Screen."""
        if answer.error is None:
            text = json_text.laid_out(bytes(answer.payload), self._console.width)
            self._console.print(_highlight(text), soft_wrap=True)
        else:
            self.fail(f"{answer.error.code}: {answer.error.message}")
            self.say(advice(command, answer.error), WARNING)
        self.say(f"{seconds * 1000:.1f} ms")

    def pushed(self, frame: bytes) -> None:
        """See Screen."""
        label, body = _parted(frame)
        line = Text(f"{label} ", style="cyan")
        line.append_text(_highlight(body))
        self._console.print(line, soft_wrap=True)

    def say(self, text: str, style: str = FAINT) -> None:
        """See Screen."""
        if text:
            self._console.print(Text(text, style=style), soft_wrap=True)

    def fail(self, text: str) -> None:
        """See Screen."""
        self.say(text, BAD)

    def help(self, reference: Reference, subject: str) -> None:
        """See Screen."""
        if subject in reference.entries:
            self._explain(reference.entries[subject])
            return
        namespaces = reference.namespaces()
        if subject in namespaces:
            self._console.print(_listed((entry.name, entry.summary) for entry in namespaces[subject]))
            return
        if subject:
            self.fail(f"there is no command and no namespace {subject!r}")
        self._console.print(
            _listed(
                [
                    (
                        "COMMAND field=value ...",
                        "run it; a value is JSON or else text, in apostrophes if it has blanks",
                    ),
                    ("COMMAND {...}", "run it with its payload as JSON"),
                    ("help COMMAND", "explain a command, or list those of a namespace"),
                    ("unsubscribe", "end all subscriptions, as Ctrl-C does"),
                    ("exit", "leave, as Ctrl-D does"),
                ]
            )
        )
        self.say(f"namespaces: {', '.join(namespaces) or 'the server has not told its commands'}")

    def _explain(self, entry: Entry) -> None:
        facts = [f"cost {entry.cost}", f"since {entry.since}"]
        facts += ["writes"] * entry.writes + ["admin"] * entry.admin + ["subscription"] * entry.attaches
        self._console.print(Text(entry.name, style="bold"), Text(" ".join(entry.description.split())), soft_wrap=True)
        for title, fields in (("fields", entry.fields), ("answer", entry.result)):
            self.say(f"{title}:" if fields else f"{title}: none")
            if fields:
                self._console.print(_listed((f"  {field.name}", described(field)) for field in fields))
        self.say("; ".join(facts))


class Pipe:
    """For programs: answers on standard output, everything else on standard error."""

    def __init__(self, output: Console, errors: Console) -> None:
        self._output = output
        self._errors = errors

    def answer(self, command: str, answer: Answer, seconds: float) -> None:
        """See Screen."""
        if answer.error is None:
            self._output.out(bytes(answer.payload).decode(), highlight=False)
        else:
            self.fail(f"{answer.error.code}: {answer.error.message}")

    def pushed(self, frame: bytes) -> None:
        """See Screen."""
        self._output.out(frame.decode(), highlight=False)

    def say(self, text: str, style: str = FAINT) -> None:
        """Nobody is there to be told."""

    def fail(self, text: str) -> None:
        """See Screen."""
        self._errors.out(f"synap: {text}", highlight=False)

    def help(self, reference: Reference, subject: str) -> None:
        """See Screen."""
        Terminal(self._output).help(reference, subject)


def described(field: Field) -> str:
    """A field in a few words."""
    words = [field.type, "" if field.is_required else "optional"]
    words += ["" if field.default is None else f"= {field.default}", field.description]
    return ", ".join(word for word in words if word)


def advice(command: str, failure: Failure) -> str:
    """What to do about an error; empty where its message says it all."""
    template = ADVICE.get(failure.code, "")
    try:
        return template.format_map({"command": command, **failure.details})
    except KeyError:
        return ""


def _listed(rows: Any) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="cyan")
    table.add_column()
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    return table


def _parted(frame: bytes) -> tuple[str, str]:
    """What was pushed, as a label and the JSON that belongs to it."""
    members = msgspec.json.decode(frame, type=dict[str, msgspec.Raw])
    told = {name: json.loads(bytes(raw)) for name, raw in members.items() if len(raw) < 1000}
    match told.get("type"), told:
        case "event", {"room": room, "partition": partition, "offset": offset, "event_type": kind}:
            label, body = f"{room} {partition}:{offset} {kind}", "data"
        case "message", {"queue": queue, "message_id": message_id}:
            label, body = f"{queue} {message_id}", "message"
        case "message", {"topic": topic}:
            label, body = str(topic), "message"
        case kind, _:
            rest = {name: value for name, value in told.items() if name != "type"}
            return str(kind), json_text.one_line(json.dumps(rest).encode())
    raw = members.get(body) or members.get(f"{body}_base64") or msgspec.Raw(b"null")
    extras = {name: told[name] for name in ("key", "headers", "metadata") if told.get(name)}
    more = f"  {json_text.one_line(json.dumps(extras).encode())}" if extras else ""
    return _showable(label), json_text.one_line(bytes(raw)) + more


def _showable(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
