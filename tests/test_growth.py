"""The benchmark of growth: what its curves are called, and how they are drawn."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest

from benchmarks.growth import Curve
from benchmarks.plot import Chart, draw

SIZES = (10_000, 100_000, 1_000_000, 4_000_000)
KIB = 1024


def curve(*costs: float, name: str = "keys: write") -> Curve:
    return Curve(name, dict(zip(SIZES, costs, strict=True)))


def test_a_cost_that_stays_is_flat_with_an_exponent_of_zero() -> None:
    assert curve(8, 8, 8, 8).verdict() == "flat"
    assert list(curve(8, 8, 8, 8).exponents().values()) == [0, 0, 0]


def test_a_cost_that_falls_is_flat() -> None:
    assert curve(8, 4, 2, 1).verdict() == "flat"


def test_noise_is_flat() -> None:
    assert curve(8, 9, 7.9, 9).verdict() == "flat"


def test_a_cost_that_grows_with_the_logarithm_is_n_log_n() -> None:
    assert curve(*map(log, SIZES)).verdict() == "n log n"


def test_a_cost_that_doubles_with_the_items_has_an_exponent_of_one_and_bends_where_it_begins() -> None:
    bent = curve(8, 8, 80, 320)
    assert bent.verdict() == "bends at 1,000,000"
    assert list(bent.exponents().values()) == pytest.approx([0, 1, 1])


def test_many_small_steps_do_not_pass_for_none() -> None:
    assert curve(8, 9.5, 11, 12.8).verdict() == "n log n"


def test_a_rate_costs_what_it_takes_from_a_second() -> None:
    falling = Curve("keys", {10_000: 60_000, 100_000: 6_000}, per_sec=True)
    assert falling.exponents()[100_000] == pytest.approx(1)
    assert falling.verdict() == "bends at 100,000"


def test_a_cost_of_all_items_is_told_by_item() -> None:
    start = Curve("start", {10_000: 0.05, 100_000: 0.5}, of_all_items=True)
    assert start.exponents()[100_000] == pytest.approx(0)
    assert start.verdict() == "flat"


@pytest.mark.parametrize("is_logarithmic", [False, True])
def test_the_same_curves_are_drawn_alike(tmp_path: Path, is_logarithmic: bool) -> None:
    chart = Chart("Writes", "us", [curve(8, 9, 8, 80), curve(1, 2, 3, 4, name="queues: ack")], is_logarithmic)
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(chart, first)
    draw(chart, second)
    assert first.read_bytes() == second.read_bytes()


def test_a_drawing_names_curves_sizes_and_unit_and_is_small(tmp_path: Path) -> None:
    file = tmp_path / "drawn.svg"
    draw(Chart("Writes", "us", [curve(8, 9, 8, 80)]), file)
    text = file.read_text()
    assert all(f">{name}<" in text for name in ("Writes", "us", "keys: write", "10k", "1M"))
    assert len(text) < 60 * KIB


def test_there_is_a_style_for_every_curve(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="7 curves, expected at most 6"):
        draw(Chart("Writes", "us", [curve(8, 9, 8, 80)] * 7), tmp_path / "drawn.svg")
