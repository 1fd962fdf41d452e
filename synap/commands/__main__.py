"""`python -m synap.commands FILE` writes the command reference; with `--check` it says whether FILE is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from synap.commands import TABLE
from synap.commands.reference import markdown


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    page = Path(arguments[-1])
    if "--check" not in arguments:
        page.write_text(markdown(TABLE))
        return 0
    if page.exists() and page.read_text() == markdown(TABLE):
        return 0
    sys.stderr.write(f"{page} is out of date; run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
