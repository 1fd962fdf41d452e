"""Logging: one line an event for people, one JSON object an event for machines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap import log


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def logger() -> logging.Logger:
    return logging.getLogger("synap.test")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_text_is_one_line_with_time_level_and_logger(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", "text")
    logger.warning("%d keys", 5)
    (line,) = lines(capsys)
    assert line.endswith(" WARNING synap.test: 5 keys")
    assert line[:4].isdigit()


def test_json_is_one_object_a_line(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logger.info("first")
    logger.error('second "é"\nline')
    first, second = map(json.loads, lines(capsys))
    assert set(first) == {"at", "level", "logger", "message"}
    assert (first["level"], first["logger"], first["message"]) == ("info", "synap.test", "first")
    assert (second["level"], second["message"]) == ("error", 'second "é"\nline')


def test_json_tells_the_time_in_utc(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    record = logger.makeRecord(logger.name, logging.INFO, "f", 1, "x", (), None)
    record.created, record.msecs = 1_700_000_000.9996, 999.6
    logger.handle(record)
    (line,) = lines(capsys)
    assert json.loads(line)["at"] == "2023-11-14T22:13:20.999Z"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_what_is_below_the_level_is_left_out(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    log.configure(level, "json")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)("x")
    order = ["debug", "info", "warning", "error"]
    assert [json.loads(line)["level"] for line in lines(capsys)] == order[order.index(level) :]


def fail() -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("style", ["text", "json"])
def test_an_exception_is_logged_with_its_trace(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    log.configure("info", style)
    try:
        fail()
    except RuntimeError:
        logger.exception("incident")
    written = lines(capsys)
    if style == "json":
        event = json.loads(written[0])
        assert event["message"] == "incident"
        written = event["exception"].splitlines()
    assert "Traceback (most recent call last):" in written[style == "text"]
    assert written[-1] == "RuntimeError: broken"


@pytest.mark.parametrize("sent", ["a\nb", "a\r\nb", "a\x1b[31mb", "a\x00b", "a\u2028b", "a\x85b"])
def test_what_a_client_sent_cannot_forge_a_line(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], sent: str
) -> None:
    log.configure("info", "text")
    logger.info("got %s", sent)
    (line,) = lines(capsys)
    assert sent not in line
    assert line.isprintable()
    assert "got a" in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_text_that_is_no_unicode_is_logged_all_the_same(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    log.configure("info", style)
    logger.info("file %s", "name\udcff")
    (line,) = lines(capsys)
    assert "file name" in line


def test_chatty_libraries_are_quietened(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("debug", "json")
    logging.getLogger("asyncio").info("x")
    logging.getLogger("aiohttp.access").info("x")
    assert lines(capsys) == []


# Fields


def test_fields_stand_beside_the_message_in_json(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logger.info("slow", extra={"fields": {"command": "kv.get", "ms": 120, "key": None, "tags": ["a"]}})
    event = json.loads(*lines(capsys))
    del event["at"]
    told = {"command": "kv.get", "ms": 120, "key": None, "tags": ["a"]}
    assert event == {"level": "info", "logger": "synap.test", "message": "slow"} | told


def test_fields_do_not_overwrite_what_every_line_tells(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure("info", "json")
    fields = dict.fromkeys(("at", "level", "logger", "message", "exception"), "forged")
    try:
        fail()
    except RuntimeError:
        logger.exception("true", extra={"fields": fields})
    (line,) = lines(capsys)
    assert "forged" not in line
    assert json.loads(line)["message"] == "true"


def test_fields_stand_behind_the_message_in_text(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "text")
    fields = {"command": "kv.get", "ms": 1.5, "key": "user 1", "user": "", "ok": True, "client": "[::1]:80", "no": None}
    logger.info("slow", extra={"fields": fields})
    (line,) = lines(capsys)
    told = 'command=kv.get ms=1.5 key="user 1" user="" ok=true client=[::1]:80 no=null'
    assert line.endswith(f"synap.test: slow {told}")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_field_that_json_does_not_know_is_told_as_text(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    log.configure("info", style)
    logger.info("x", extra={"fields": {"error": OSError("no space")}})
    (line,) = lines(capsys)
    assert "no space" in line


@given(value=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_field_cannot_forge_a_line_or_another_field(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    log.configure("info", "text")
    logger.info("x", extra={"fields": {"before": 1, "key": value, "after": 2}})
    (line,) = lines(capsys)
    assert line.isprintable()
    match = re.search(r'x before=1 key=("(?:[^"\\]|\\.)*"|[^\s"=]+) after=2$', line)
    assert match, line
    told = json.loads(match[1]) if match[1].startswith('"') else match[1]
    assert told == value
