"""Logging: one line an event for people, one JSON object an event for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

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
