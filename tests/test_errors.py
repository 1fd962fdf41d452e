"""Errors: the codes and statuses of the contract, and what each reply says."""

from __future__ import annotations

import json

import pytest

from synap import errors
from synap.errors import BY_CODE, DiskFull, SynapError

CONTRACT = {
    "INVALID_REQUEST": 400,
    "UNKNOWN_COMMAND": 400,
    "NEEDS_WEBSOCKET": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "KEY_NOT_FOUND": 404,
    "QUEUE_NOT_FOUND": 404,
    "ROOM_NOT_FOUND": 404,
    "GROUP_NOT_FOUND": 404,
    "MESSAGE_NOT_FOUND": 404,
    "USER_NOT_FOUND": 404,
    "ROLE_NOT_FOUND": 404,
    "KEY_EXISTS": 409,
    "QUEUE_EXISTS": 409,
    "ROOM_EXISTS": 409,
    "USER_EXISTS": 409,
    "ROLE_EXISTS": 409,
    "WRONG_TYPE": 409,
    "IDEMPOTENCY_CONFLICT": 409,
    "MASTER_ALIVE": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "INVALID_PAYLOAD": 422,
    "NOT_A_NUMBER": 422,
    "OUT_OF_RANGE": 422,
    "INVALID_OFFSET": 422,
    "RATE_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "READ_ONLY": 503,
    "UNAVAILABLE": 503,
    "ACK_TIMEOUT": 504,
    "QUEUE_FULL": 507,
    "MEMORY_LIMIT": 507,
    "DISK_FULL": 507,
}

# What keys, the journal and the envelope need; grows with every namespace.
NEEDED = {
    "INVALID_REQUEST",
    "UNKNOWN_COMMAND",
    "KEY_NOT_FOUND",
    "WRONG_TYPE",
    "IDEMPOTENCY_CONFLICT",
    "PAYLOAD_TOO_LARGE",
    "INVALID_PAYLOAD",
    "NOT_A_NUMBER",
    "OUT_OF_RANGE",
    "INTERNAL_ERROR",
    "UNAVAILABLE",
    "MEMORY_LIMIT",
    "DISK_FULL",
}


@pytest.mark.parametrize("code", BY_CODE)
def test_every_code_is_in_the_contract_with_its_status(code: str) -> None:
    assert (code, BY_CODE[code].status) in CONTRACT.items()
    assert BY_CODE[code].code == code


def test_every_code_that_is_needed_so_far_is_there() -> None:
    assert set(BY_CODE) >= NEEDED


def test_no_code_has_two_classes_and_every_class_says_what_it_means() -> None:
    direct = SynapError.__subclasses__()
    assert len({error.code for error in direct}) == len(direct)
    narrower: list[type[SynapError]] = [errors.NoSuchRoute, errors.MethodNotAllowed]
    for error in [*direct, *narrower]:
        assert error.__doc__
        assert BY_CODE[error.code].status in (error.status, 400)


def test_an_error_is_told_with_code_message_and_details() -> None:
    error = errors.KeyNotFound("there is no key 'a'", key="a")
    assert str(error) == "there is no key 'a'"
    assert error.as_dict() == {"code": "KEY_NOT_FOUND", "message": "there is no key 'a'", "details": {"key": "a"}}
    assert json.loads(json.dumps(error.as_dict())) == error.as_dict()


def test_details_may_be_empty_but_are_always_there() -> None:
    assert errors.InvalidRequest("no").as_dict()["details"] == {}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(OSError(28, "No space left on device"), "No space left on device"), (OSError("odd"), "odd")],
)
def test_a_full_disk_says_why_and_what_follows(failure: OSError, reason: str) -> None:
    error = DiskFull.because(failure)
    assert error.message == f"the journal cannot be written ({reason}); writes are refused until it can"
    assert error.details == {"reason": reason}
