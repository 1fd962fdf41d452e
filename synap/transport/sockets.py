"""What the system is asked for on behalf of connections: enough of them, and to look after those that are open."""

from __future__ import annotations

import os
import resource
import socket

# Peers that have gone without a word are noticed after two minutes, whether something is on its way to them or not.
KEEPALIVE_IDLE_SECS = 60
KEEPALIVE_INTERVAL_SECS = 15
KEEPALIVE_PROBES = 4
UNACKNOWLEDGED_MS_MAX = 120_000


def notice_lost_peers(listening: int) -> None:
    """Have the system look after connections that are accepted on this socket: they inherit what is set here."""
    options = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_SECS,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_SECS,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS_MAX,
    }
    with socket.socket(fileno=os.dup(listening)) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if option := getattr(socket, name, None):  # not every system has all of them
                opened.setsockopt(socket.IPPROTO_TCP, option, value)


def allow_files(count: int) -> None:
    """Raise this process's limit on open files as far as the system lets it, up to `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
