"""Every failure a client can see: one class per error code of the contract, with its HTTP status.

A message is one sentence its reader can act on: what was expected, what came, what to do. What a
program needs from it goes into `details`. Anything that is not a SynapError is a bug and reaches the
client only as INTERNAL_ERROR with an incident id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class SynapError(Exception):
    """A refusal with a code. `details` must be JSON-encodable."""

    code: ClassVar[str]
    status: ClassVar[int]
    headers: Mapping[str, str] = {}
    """What an HTTP answer says beside it."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = _sayable(message)
        self.details = {name: _sayable(v) if isinstance(v, str) else v for name, v in details.items()}

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of a reply."""
        return {"code": self.code, "message": self.message, "details": self.details}


def _sayable(text: str) -> str:
    """A text that can be encoded. What quotes a client may hold what is no character."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class InvalidRequest(SynapError):
    """The body is not a JSON envelope, or the HTTP request around it is unusable."""

    code, status = "INVALID_REQUEST", 400


class NoSuchRoute(InvalidRequest):
    """No route has this path; INVALID_REQUEST with the status HTTP has for it."""

    status = 404


class MethodNotAllowed(InvalidRequest):
    """The path exists with another method."""

    status = 405


class ExpectationFailed(InvalidRequest):
    """An Expect header that nobody can meet."""

    status = 417


class UnknownCommand(SynapError):
    """No such command; `details.suggestion` names the nearest."""

    code, status = "UNKNOWN_COMMAND", 400


class InvalidPayload(SynapError):
    """Valid JSON with wrong fields; `details.path` names the place."""

    code, status = "INVALID_PAYLOAD", 422


class PayloadTooLarge(SynapError):
    """A body, key or value over its limit."""

    code, status = "PAYLOAD_TOO_LARGE", 413


class KeyNotFound(SynapError):
    """The command needs a key that is not there."""

    code, status = "KEY_NOT_FOUND", 404


class Unauthorized(SynapError):
    """No credential where one is needed, or one that is not, or no longer, good."""

    code, status = "UNAUTHORIZED", 401
    headers = {"WWW-Authenticate": 'Bearer realm="synap"'}


class CredentialExpired(Unauthorized):
    """Its time is over. Whoever was told must not be let in again by a slower clock."""


class Forbidden(SynapError):
    """The credential lacks the permission, which `details` names; or this is not the place to use it."""

    code, status = "FORBIDDEN", 403


class RateLimitExceeded(SynapError):
    """Too many requests, or failed logins. `details.retry_after_secs` says how long to wait."""

    code, status = "RATE_LIMIT_EXCEEDED", 429

    def __init__(self, message: str, *, retry_after_secs: int) -> None:
        super().__init__(message, retry_after_secs=retry_after_secs)
        self.headers = {"Retry-After": str(retry_after_secs)}


class UserNotFound(SynapError):
    """There is no such user."""

    code, status = "USER_NOT_FOUND", 404


class RoleNotFound(SynapError):
    """There is no such role."""

    code, status = "ROLE_NOT_FOUND", 404


class UserExists(SynapError):
    """The user is there already."""

    code, status = "USER_EXISTS", 409


class RoleExists(SynapError):
    """The role is there already, with other permissions."""

    code, status = "ROLE_EXISTS", 409


class NeedsWebSocket(SynapError):
    """A subscription where nothing can be pushed to."""

    code, status = "NEEDS_WEBSOCKET", 400


class QueueNotFound(SynapError):
    """There is no such queue."""

    code, status = "QUEUE_NOT_FOUND", 404


class RoomNotFound(SynapError):
    """There is no such stream."""

    code, status = "ROOM_NOT_FOUND", 404


class GroupNotFound(SynapError):
    """The stream has no such consumer group."""

    code, status = "GROUP_NOT_FOUND", 404


class MessageNotFound(SynapError):
    """No such message, or its lease is over."""

    code, status = "MESSAGE_NOT_FOUND", 404


class QueueExists(SynapError):
    """The queue is there already, with another configuration."""

    code, status = "QUEUE_EXISTS", 409


class RoomExists(SynapError):
    """The stream is there already."""

    code, status = "ROOM_EXISTS", 409


class WrongType(SynapError):
    """The key holds another type; `details` names both."""

    code, status = "WRONG_TYPE", 409


class IdempotencyConflict(SynapError):
    """The idempotency key was used for another request."""

    code, status = "IDEMPOTENCY_CONFLICT", 409


class MasterAlive(SynapError):
    """The master still answers: a second one would part the data. `force` promotes all the same."""

    code, status = "MASTER_ALIVE", 409


class NotANumber(SynapError):
    """Arithmetic on a value that is not a number."""

    code, status = "NOT_A_NUMBER", 422


class OutOfRange(SynapError):
    """A number outside 64 bits, or an index outside its value."""

    code, status = "OUT_OF_RANGE", 422


class InvalidOffset(SynapError):
    """An offset outside the log."""

    code, status = "INVALID_OFFSET", 422


class Internal(SynapError):
    """A bug. `details.incident` is also in the log, beside the exception."""

    code, status = "INTERNAL_ERROR", 500


class Unavailable(SynapError):
    """The server is starting or draining, or a replica that is not up to date."""

    code, status = "UNAVAILABLE", 503


class ReadOnly(SynapError):
    """A write on a replica. `details.master` is where it belongs, null while no master is known."""

    code, status = "READ_ONLY", 503


class AckTimeout(SynapError):
    """The write is in this server's journal, but not in as many replicas' as was asked for."""

    code, status = "ACK_TIMEOUT", 504


class QueueFull(SynapError):
    """The queue is as deep as it may be."""

    code, status = "QUEUE_FULL", 507


class MemoryLimit(SynapError):
    """`memory.limit_bytes` is reached and the policy frees nothing."""

    code, status = "MEMORY_LIMIT", 507


class DiskFull(SynapError):
    """The journal cannot be written."""

    code, status = "DISK_FULL", 507

    @classmethod
    def because(cls, failure: OSError) -> DiskFull:
        """The refusal of a write after `failure`."""
        reason = failure.strerror or str(failure)
        return cls(f"the journal cannot be written ({reason}); writes are refused until it can", reason=reason)


BY_CODE: dict[str, type[SynapError]] = {error.code: error for error in SynapError.__subclasses__()}
