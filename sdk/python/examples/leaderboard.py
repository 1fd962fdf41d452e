"""A leaderboard: scores in a sorted set, the best first, and anybody's rank."""

from __future__ import annotations

import os
from uuid import uuid4

from synap_sdk import Synap

URL = os.environ.get("SYNAP_URL", "http://127.0.0.1:15500")
BOARD = f"board-{uuid4().hex[:8]}"

with Synap(URL) as synap:
    scores = {"ann": 120, "bob": 95, "cleo": 150}
    synap.sortedset.zadd(BOARD, members=[{"member": name, "score": score} for name, score in scores.items()])
    synap.sortedset.zincrby(BOARD, "bob", 40)

    with synap.batch() as batch:
        best = batch.sortedset.zrevrange(BOARD, stop=1)
        bob = batch.sortedset.zrevrank(BOARD, "bob")
    for place, player in enumerate(best.result().members, start=1):
        print(f"{place}. {player.member} {player.score}")
    print(f"bob is number {(bob.result().rank or 0) + 1}")
    assert [player.member for player in best.result().members] == ["cleo", "bob"]
