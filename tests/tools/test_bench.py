"""Load on a real server, and what is told about it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from typer.testing import CliRunner, Result

from synap.cli import BAD_SETTING, FAILED, program
from synap.tools.bench import Options, shapes_of, summarize
from synap.tools.line import Unreadable
from synap.tools.load import Found, Generator, Job
from synap.tools.wire import post, response_end
from tests.support import ServerProcess


def bench(server: ServerProcess, *arguments: str) -> Result:
    return CliRunner().invoke(program, ["bench", "--seconds", "0.2", "--url", server.url, *arguments])


def generator(options: Options, rank: int = 0) -> Generator:
    job = Job("h", 1, "/api/v1/command", {}, shapes_of(options), 1, 1.0, batch=options.batch, numbers=options.keys)
    job.rank, job.processes = rank, options.processes
    return Generator(job)


def body(request: bytes) -> str:
    return request.partition(b"\r\n\r\n")[2].decode()


def test_the_mix_is_answered_and_its_keys_are_removed(server: ServerProcess) -> None:
    before = server.call("kv.dbsize")["size"]
    done = bench(server, "--keys", "500", "--connections", "4", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["succeeded"] > 0
    assert told["errors"] == {}
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99"] <= told["latency_ms"]["max"]
    assert server.call("kv.dbsize")["size"] == before


def test_commands_are_counted_not_requests(server: ServerProcess) -> None:
    server.call("kv.del", key="bench-count")
    arguments = ["--batch", "20", "--pipeline", "3", "--connections", "3", "--processes", "2"]
    done = bench(server, *arguments, "--command", "kv.incr key=bench-count", "--json")
    told = json.loads(done.stdout)
    in_flight = 3 * 3 * 20
    assert told["succeeded"] <= server.call("kv.get", key="bench-count")["value"] <= told["succeeded"] + in_flight
    assert told["commands_per_sec"] == pytest.approx(20 * told["requests_per_sec"], rel=0.01)


def test_errors_are_told_by_code_with_an_example(server: ServerProcess) -> None:
    done = bench(server, "--command", 'key.rename source="no-{n}" destination=x', "--connections", "2")
    assert done.exit_code == FAILED
    assert "KEY_NOT_FOUND" in done.stdout
    assert "there is no key 'no-0'" in done.stdout
    done = bench(server, "--batch", "2", "--command", "kv.get keyy={n}", "--connections", "2", "--json")
    told = json.loads(done.stdout)
    assert (set(told["errors"]), told["succeeded"]) == ({"INVALID_PAYLOAD"}, 0)


def test_a_server_that_is_not_there_is_told() -> None:
    done = CliRunner().invoke(program, ["bench", "--url", "http://127.0.0.1:1", "--seconds", "0.1"])
    assert (done.exit_code, "refused" in done.stderr) == (FAILED, True)
    assert CliRunner().invoke(program, ["bench", "--url", "nonsense"]).exit_code == FAILED


@pytest.mark.parametrize("arguments", [["--mix", "70"], ["--mix", "0/0"], ["--command", "kv.get a"]])
def test_options_that_make_no_sense_are_refused(server: ServerProcess, arguments: list[str]) -> None:
    assert bench(server, *arguments).exit_code == BAD_SETTING


def test_numbers_stand_in_texts_and_for_themselves() -> None:
    made = generator(Options(command="kv.set key=100%:{n} value={n}", batch=2))
    assert body(made.request()) == (
        '{"type":"batch","commands":[{"command":"kv.set","payload":{"key":"100%:0","value":0}},'
        '{"command":"kv.set","payload":{"key":"100%:1","value":1}}]}'
    )


def test_processes_count_past_each_other() -> None:
    options = Options(command="kv.incr key=c:{n}", processes=2)
    seen = [body(each.request()) for each in (generator(options, 0), generator(options, 1)) for _ in "ab"]
    assert len(set(seen)) == len(seen)


def test_the_mix_has_its_shares_and_stays_among_its_keys() -> None:
    made = generator(Options(mix="75/25", keys=10, value_bytes=3))
    bodies = [json.loads(body(made.request())) for _ in range(2_000)]
    counts = Counter(each["command"] for each in bodies)
    assert 1_350 < counts["kv.get"] < 1_650
    assert {each["payload"]["key"] for each in bodies} == {f"bench:{n}" for n in range(10)}
    assert {each["payload"].get("value") for each in bodies} == {None, "xxx"}
    with pytest.raises(Unreadable):
        shapes_of(Options(mix="a/b"))


def test_what_several_processes_found_is_one_report() -> None:
    slow = Found(10, 1.0, 0.5, {"A": 1}, {"A": "why"}, {1_000: 9, 8_000: 1})
    report = summarize([slow, Found(20, 2.0, 0.95, {}, {}, {500: 20})], batch=2)
    assert (report.requests_per_sec, report.commands_per_sec) == (20, 40)
    assert report.latency_ms == {"p50": 0.5, "p95": 1.0, "p99": 8.0, "max": 8.0}
    assert (report.succeeded, report.errors, report.is_client_limited) == (59, {"A": 1}, True)


def test_responses_are_found_wherever_they_are_cut() -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    received = 2 * response
    for cut in range(len(response)):
        assert response_end(received[:cut]) == 0
    assert response_end(received) == len(response)
    assert response_end(received, len(response)) == len(received)
    assert response_end(received[:-1], len(response)) == 0
    assert response_end(b"HTTP/1.1 200 OK\r\n\r\n") == 0


def test_a_request_is_whole() -> None:
    head, _, sent = post(b'{"command":"kv.dbsize"}').partition(b"\r\n\r\n")
    assert (b"\r\nContent-Length: 23" in head, sent) == (True, b'{"command":"kv.dbsize"}')
