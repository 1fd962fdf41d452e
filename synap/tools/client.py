"""A server as its clients see it: where it is, what to show it, how to ask it, and what its answers mean."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

DEFAULT_URL = "http://127.0.0.1:15500"
TIMEOUT_SECS = 30.0

NOTHING = msgspec.Raw(b"null")


class Unreachable(Exception):
    """No answer came, or none that a Synap server would give."""


class Failure(msgspec.Struct):
    """The `error` of an answer."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Answer(msgspec.Struct):
    """The reply to a command: its payload, as the bytes that came, or its error."""

    success: bool
    payload: msgspec.Raw = NOTHING
    error: Failure | None = None


class Refused(Exception):
    """The server has answered with an error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class _Refusal(msgspec.Struct):
    error: Failure


@dataclass
class Server:
    """Where a server is and what to show it. `api_key` may be a token as well; `ca` is a certificate to trust."""

    url: str = DEFAULT_URL
    api_key: str | None = None
    ca: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    def at(self, path: str) -> str:
        """The URL of a path."""
        return self.url.rstrip("/") + path

    def tls(self) -> ssl.SSLContext:
        """What to trust. Raises Unreachable for a certificate that cannot be read."""
        context = ssl.create_default_context()
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except OSError as error:
                raise Unreachable(f"{self.ca}: {error}") from None
        return context

    def ask(self, command: str, payload: str = "{}", *, timeout_secs: float | None = None) -> Answer:
        """Run one command. Raises Unreachable."""
        return self.answer(self._fetch("/api/v1/command", request(command, payload), timeout_secs)[1])

    def payload(self, command: str, payload: str = "{}") -> Any:
        """The decoded payload of a command's answer. Raises Unreachable and Refused."""
        answer = self.ask(command, payload, timeout_secs=TIMEOUT_SECS)
        if answer.error is not None:
            raise Refused(answer.error)
        return json.loads(bytes(answer.payload))

    def get(self, path: str) -> bytes:
        """What stands at a path. Raises Unreachable and Refused."""
        status, body = self._fetch(path, None, TIMEOUT_SECS)
        return self.page(status, body)

    def page(self, status: int, body: bytes) -> bytes:
        """A body that came with its status, if that is a good one. Raises Unreachable and Refused."""
        if status < 400:
            return body
        try:
            raise Refused(msgspec.json.decode(body, type=_Refusal).error)
        except msgspec.DecodeError:
            raise self.stranger() from None

    def answer(self, body: bytes) -> Answer:
        """The answer in a body. Raises Unreachable."""
        try:
            return msgspec.json.decode(body, type=Answer)
        except msgspec.DecodeError:
            raise self.stranger() from None

    def stranger(self) -> Unreachable:
        """To be raised when what answers is something else."""
        return Unreachable(f"{self.url} does not answer like a Synap server")

    def _fetch(self, path: str, body: bytes | None, timeout_secs: float | None) -> tuple[int, bytes]:
        try:
            asked = urllib.request.Request(self.at(path), body, self.headers)  # noqa: S310
            context = self.tls() if self.url.startswith("https:") else None
            with urllib.request.urlopen(asked, timeout=timeout_secs, context=context) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (urllib.error.URLError, http.client.HTTPException, ValueError, OSError) as error:
            raise Unreachable(f"{self.url}: {getattr(error, 'reason', error)}") from None


def request(command: str, payload: str, request_id: str | None = None) -> bytes:
    """The envelope of a command, its payload being JSON already."""
    named = "" if request_id is None else f',"request_id":{json.dumps(request_id)}'
    return f'{{"command":{json.dumps(command)},"payload":{payload}{named}}}'.encode("utf-8", "surrogatepass")
