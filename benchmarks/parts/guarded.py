"""What it costs to tell callers apart: the same load with and without credentials, permissions and rate limits.

Two servers take turns. One lets anybody do anything. The other asks for credentials, lets them use kv on the
keys of the load and no others, and counts requests against a limit that is never reached; it is loaded with an
API key, which it keeps in its state, and with a JWT, whose permissions it reads from the token.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import jwt

from benchmarks import load, report, servers
from benchmarks.goals import Goal
from benchmarks.load import Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

LOADS = {"one command a request": Workload(), "batches of 100": Workload("batch", 100, connections=8)}
OPEN, API_KEY, TOKEN = "nobody logs in", "API key", "JWT"
PERMISSION = "kv.*:key:*"
RATE_PER_SEC = 10_000_000
TOKEN_TTL_SECS = 24 * 3600
LEFT_LEAST = 0.8
COLUMNS = ("load and credential", "commands/s", "min to max", "left", "server CPU", "client busy")


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        unguarded = stack.enter_context(servers.synap(directory / "open"))
        secret = secrets.token_hex(32)
        guarded = stack.enter_context(servers.synap(directory / "guarded", **_guards(secret)))
        admin = replace(guarded, headers=_bearer(secret, "admin", "*"))
        asked_as = {
            OPEN: unguarded,
            API_KEY: replace(guarded, headers=_api_key(admin)),
            TOKEN: replace(guarded, headers=_bearer(secret, "bench", PERMISSION)),
        }
        for server in (unguarded, asked_as[API_KEY]):
            load.fill_synap(server, load.KEYS, load.VALUE)
        contenders = {
            (shape, credential): Contender(f"{shape}, {credential}", partial(_drive, server, workload))
            for shape, workload in LOADS.items()
            for credential, server in asked_as.items()
        }
        take_turns("guarded", list(contenders.values()), plan, plan.short_round_secs)
        for server in (unguarded, admin):
            load.check_errors(server)
    goals = {
        contender.name: Goal(contender.name, contender.times(contenders[shape, OPEN]), LEFT_LEAST)
        for (shape, credential), contender in contenders.items()
        if credential != OPEN
    }
    rows = [_row(contender, goals.get(contender.name)) for contender in contenders.values()]
    notes = (
        f"the credentials may do {PERMISSION}; their limit is {RATE_PER_SEC:,} commands/s",
        f"left: how much of the rate without credentials, the median over the rounds; goal: {LEFT_LEAST}x",
        *caveats(list(contenders.values())),
    )
    return Table("Commands per second, with credentials and limits", COLUMNS, rows, notes, tuple(goals.values()))


def _guards(secret: str) -> dict[str, str]:
    return {
        "SYNAP_AUTH_ENABLED": "true",
        "SYNAP_AUTH_JWT_SECRET": secret,
        "SYNAP_RATE_LIMIT_ENABLED": "true",
        "SYNAP_RATE_LIMIT_REQUESTS_PER_SECOND": str(RATE_PER_SEC),
        "SYNAP_RATE_LIMIT_BURST": str(RATE_PER_SEC),
    }


def _bearer(secret: str, name: str, permission: str) -> Mapping[str, str]:
    claims = {"sub": name, "exp": int(time.time()) + TOKEN_TTL_SECS, "permissions": [permission]}
    return {"Authorization": f"Bearer {jwt.encode(claims, secret, algorithm='HS256')}"}


def _api_key(admin: Server) -> Mapping[str, str]:
    payload = {"name": "bench", "permissions": [PERMISSION]}
    return {"X-API-Key": servers.ask_synap(admin.port, "auth.create_key", payload, admin.headers)["key"]}


def _drive(server: Server, workload: Workload, seconds: int) -> Sample:
    return load.wrk(workload, seconds, server)


def _row(contender: Contender, goal: Goal | None) -> tuple[str, ...]:
    cpu, busy = f"{contender.server_cpu_us:.1f} us", f"{contender.client_busy:.0%}"
    return (contender.name, *report.spread(contender.rates), "" if goal is None else goal.cell, cpu, busy)
