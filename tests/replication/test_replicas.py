"""How far those who follow are, and what so many of them have."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from synap.journal import REPLICAS_MAX
from synap.replication.replicas import MARKS_MAX, REMEMBERED_MS, Replica, Replicas
from synap.replication.wire import Greeting


def joined(replicas: Replicas, node: str, *, from_lsn: int = 1, url: str = "", now: float = 0.0) -> Replica:
    return replicas.join(Greeting(node=node, from_lsn=from_lsn, url=url), "10.0.0.1", now)


def test_a_replica_has_nothing_until_it_says_so_on_this_connection() -> None:
    replicas = Replicas()
    replica = joined(replicas, "n1", from_lsn=50)
    assert replica.acked_lsn == 0
    assert replicas.reached[0] == 0


def test_reached_is_what_so_many_have() -> None:
    replicas = Replicas()
    one, two, three = (joined(replicas, node) for node in ("n1", "n2", "n3"))
    replicas.acknowledge(one, 10, 0.0)
    replicas.acknowledge(two, 30, 0.0)
    replicas.acknowledge(three, 20, 0.0)
    assert replicas.reached[:4] == [30, 20, 10, 0]


def test_an_acknowledgement_says_whether_reached_has_changed() -> None:
    replicas = Replicas()
    one = joined(replicas, "n1")
    assert replicas.acknowledge(one, 10, 0.0)
    assert not replicas.acknowledge(one, 10, 1.0)
    assert not replicas.acknowledge(one, 9, 1.0)
    assert one.heard_at == 1.0
    assert one.acked_lsn == 10


def test_what_was_reached_is_not_lost_when_a_replica_leaves() -> None:
    replicas = Replicas()
    one = joined(replicas, "n1")
    replicas.acknowledge(one, 10, 0.0)
    replicas.leave(one, 0.0)
    assert replicas.reached[0] == 10
    assert len(replicas) == 0


def test_a_connection_that_was_replaced_counts_no_more() -> None:
    replicas = Replicas()
    before = joined(replicas, "n1")
    after = joined(replicas, "n1")
    assert not replicas.is_joined(before)
    assert replicas.is_joined(after)
    assert not replicas.acknowledge(before, 10, 0.0)
    replicas.leave(before, 0.0)
    assert list(replicas) == [after]


def test_a_node_is_not_counted_twice() -> None:
    replicas = Replicas()
    replicas.acknowledge(joined(replicas, "n1"), 10, 0.0)
    replicas.acknowledge(joined(replicas, "n1"), 10, 0.0)
    assert replicas.reached[:2] == [10, 0]


def test_a_node_keeps_its_name_when_it_comes_again() -> None:
    replicas = Replicas()
    assert joined(replicas, "n1").id == "replica-1"
    assert joined(replicas, "n2").id == "replica-2"
    assert joined(replicas, "n1").id == "replica-1"


def test_a_replica_is_shown_under_the_url_that_it_names_or_where_it_comes_from() -> None:
    replicas = Replicas()
    assert joined(replicas, "n1", url="http://10.0.0.9:15500").address == "http://10.0.0.9:15500"
    assert joined(replicas, "n2").address == "10.0.0.1"


def test_records_are_needed_until_the_slowest_has_them() -> None:
    replicas = Replicas()
    assert replicas.needs_from(0.0) is None
    slow, fast = joined(replicas, "n1", from_lsn=5), joined(replicas, "n2", from_lsn=40)
    assert replicas.needs_from(0.0) == 5
    replicas.acknowledge(slow, 20, 0.0)
    assert replicas.needs_from(0.0) == 21
    replicas.acknowledge(slow, 90, 0.0)
    assert replicas.needs_from(0.0) == fast.needs_lsn == 40


def test_what_a_replica_needs_that_has_gone_is_remembered_for_a_while() -> None:
    replicas = Replicas()
    gone = joined(replicas, "n1", from_lsn=5)
    replicas.leave(gone, 1_000.0)
    assert replicas.needs_from(1_000.0 + REMEMBERED_MS) == 5
    assert replicas.needs_from(1_001.0 + REMEMBERED_MS) is None


def test_what_a_replica_needs_that_has_come_back_is_what_it_says_now() -> None:
    replicas = Replicas()
    replicas.leave(joined(replicas, "n1", from_lsn=5), 0.0)
    joined(replicas, "n1", from_lsn=30)
    assert replicas.needs_from(1.0) == 30


def test_lag_is_how_long_the_oldest_record_that_is_missing_has_been_waiting() -> None:
    replicas = Replicas()
    replica = joined(replicas, "n1")
    for lsn, now in ((10, 100.0), (20, 200.0), (30, 300.0)):
        replicas.wrote(lsn, now)
    assert replicas.lag_ms(replica, 30, 350.0) == 250.0
    replicas.acknowledge(replica, 10, 350.0)
    assert replicas.lag_ms(replica, 30, 350.0) == 150.0
    replicas.acknowledge(replica, 30, 350.0)
    assert replicas.lag_ms(replica, 30, 1_000.0) == 0.0


def test_lag_is_told_from_few_marks_however_much_is_written() -> None:
    replicas = Replicas()
    replica = joined(replicas, "n1")
    count = 3 * MARKS_MAX
    for lsn in range(1, count + 1):
        replicas.wrote(lsn, float(lsn))
    assert 0 <= count - replicas.lag_ms(replica, count, float(count)) < 100
    replicas.acknowledge(replica, count - 1, 0.0)
    assert replicas.lag_ms(replica, count, count + 7.0) == 7.0


def test_more_replicas_than_are_counted_can_follow() -> None:
    replicas = Replicas()
    for number in range(REPLICAS_MAX + 3):
        replicas.acknowledge(joined(replicas, f"n{number}"), number + 1, 0.0)
    assert len(replicas) == REPLICAS_MAX + 3
    assert replicas.reached == sorted(replicas.reached, reverse=True)
    assert replicas.reached[0] == REPLICAS_MAX + 3


steps = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "ack"]), st.integers(0, 4), st.integers(1, 30)), max_size=60
)


@given(steps)
def test_reached_is_never_more_than_so_many_nodes_have_said(actions: list[tuple[str, int, int]]) -> None:
    replicas = Replicas()
    connections: dict[int, Replica] = {}
    said: defaultdict[int, int] = defaultdict(int)
    before = list(replicas.reached)
    for action, number, lsn in actions:
        if action == "join":
            connections[number] = joined(replicas, f"n{number}")
        elif number in connections and action == "leave":
            replicas.leave(connections.pop(number), 0.0)
        elif number in connections:
            replicas.acknowledge(connections[number], lsn, 0.0)
            said[number] = max(said[number], lsn)
        most = sorted(said.values(), reverse=True) + [0] * REPLICAS_MAX
        assert all(reached <= most[n] for n, reached in enumerate(replicas.reached))
        assert all(now >= then for now, then in zip(replicas.reached, before, strict=True))
        assert replicas.reached == sorted(replicas.reached, reverse=True)
        before = list(replicas.reached)
