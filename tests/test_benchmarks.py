"""The report of the benchmarks: goals, tables and what is counted; nothing is measured here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as program
from benchmarks import report
from benchmarks.clients.wire import Frames
from benchmarks.goals import Goal
from benchmarks.load import Sample
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan

FAST = Goal("reads beside writes", 1.5, least=1.0)
SLOW = Goal("p99 in quiet", 4.25, most=3.0, unit=" ms")
TABLE = Table("Speed", ("what", "per second"), [("reads", "1,500"), ("writes", "1,000")], ("a note",), (FAST, SLOW))


def sample(rate: float) -> Sample:
    return Sample(rate, 1.0, 0.5, 0.0)


def contender(name: str, *rates: float) -> Contender:
    return Contender(name, lambda _: sample(0), [sample(rate) for rate in rates])


@pytest.mark.parametrize(("got", "is_met"), [(0.74, False), (0.75, True), (0.76, True)])
def test_what_is_to_be_so_much_at_least_is_met_from_there_on(got: float, is_met: bool) -> None:
    assert Goal("g", got, least=0.75).is_met is is_met


@pytest.mark.parametrize(("got", "is_met"), [(9.99, True), (10.0, True), (10.01, False)])
def test_what_is_to_be_so_much_at_most_is_met_up_to_there(got: float, is_met: bool) -> None:
    assert Goal("g", got, most=10.0).is_met is is_met


def test_a_goal_is_judged_by_what_was_measured_and_not_by_what_is_shown() -> None:
    goal = Goal("g", 0.74999, least=0.75)
    assert (goal.found, goal.verdict) == ("0.75x", "missed")


def test_a_goal_reads_as_people_write_it() -> None:
    assert (FAST.wanted, FAST.cell) == (">= 1x", "1.5x, met")
    assert (SLOW.wanted, SLOW.cell) == ("<= 3 ms", "4.25 ms, missed")
    batches = Goal("batches", 412_345.6, least=400_000, unit="/s")
    assert (batches.wanted, batches.found) == (">= 400,000/s", "412,346/s")


def test_the_summary_lists_the_goals_of_all_tables_and_counts_those_that_are_met() -> None:
    other = Table("Memory", ("server", "bytes"), [("Synap", "90")], goals=(Goal("memory", 1.9, most=2.0),))
    summary = report.summary([TABLE, other])
    assert [(row[0], row[-1]) for row in summary.rows] == [
        ("reads beside writes", "met"),
        ("p99 in quiet", "missed"),
        ("memory", "met"),
    ]
    assert summary.notes == ("2 of 3 goals are met",)


def test_the_report_tells_the_machine_then_the_goals_then_the_tables() -> None:
    text = report.whole([TABLE])
    places = [text.index(part) for part in ("# Synap's benchmarks", "- Machine: ", "## Goals", "## Speed", "- a note")]
    assert places == sorted(places)


def test_a_table_is_aligned_markdown() -> None:
    assert report.markdown(TABLE).splitlines()[2:6] == [
        "| what   | per second |",
        "| ------ | ---------: |",
        "| reads  |      1,500 |",
        "| writes |      1,000 |",
    ]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_table_is_printed_with_its_notes(is_terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    report.show(TABLE, Console(force_terminal=is_terminal, width=80))
    printed = capsys.readouterr().out
    assert "1,500" in printed and "a note" in printed


def test_a_ratio_is_taken_within_a_round() -> None:
    ours, theirs = contender("ours", 100, 50, 80), contender("theirs", 50, 100, 40)
    assert ours.times(theirs) == 2.0


def test_frames_are_counted_however_they_arrive() -> None:
    short, long, huge = b"\x81\x03abc", b"\x81\x7e\x01\x00" + 256 * b"x", b"\x81\x7f" + (70_000).to_bytes(8, "big")
    data = short + long + huge + 70_000 * b"y" + short
    assert (Frames().count(data), Frames().count(data[:-1])) == (4, 3)
    for step in (1, 2, 7, 1_000):
        frames = Frames()
        assert sum(frames.count(data[start : start + step]) for start in range(0, len(data), step)) == 4


@pytest.mark.parametrize(
    ("arguments", "expected"), [([], ["short"]), (["--all"], ["short", "long"]), (["long"], ["long"])]
)
def test_a_run_is_of_the_parts_that_prove_the_goals_unless_it_is_told_otherwise(
    arguments: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []

    def part(name: str) -> program.Part:
        def run(plan: Plan) -> Table:
            ran.append(name)
            return replace(TABLE, title=f"The {name} one")

        return program.Part(run, needs_wrk=False, is_short=name == "short")

    monkeypatch.setattr(program, "PARTS", {name: part(name) for name in ("short", "long")})
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    file = tmp_path / "RESULTS.md"
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments, "--markdown", str(file)])
    assert program.main() == 0
    assert ran == expected
    assert [f"## The {name} one" in file.read_text() for name in ("short", "long")] == [
        name in expected for name in ("short", "long")
    ]
