"""The built-in roles, made from the command table: admin may do everything, reader what changes nothing.

writer may do everything but what is declared `admin`. A command is in the right roles by its declaration alone.
"""

from __future__ import annotations

import functools

from synap.commands.table import TABLE

ADMIN, WRITER, READER = "admin", "writer", "reader"


@functools.cache
def builtin() -> dict[str, tuple[str, ...]]:
    """The permissions of each built-in role."""
    ordinary = [command for command in TABLE.public() if not command.admin and not command.is_open]
    return {
        ADMIN: ("*",),
        WRITER: tuple(command.name for command in ordinary),
        READER: tuple(command.name for command in ordinary if not (command.writes or command.has_effect)),
    }
