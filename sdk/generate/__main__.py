"""`python -m sdk.generate` writes the generated files of the kits; with `--check` it only names those out of date."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from sdk.generate import model, python

SDK = Path(__file__).parents[1]


def files() -> dict[Path, str]:
    """What every generated file has to hold."""
    found = model.build()
    texts = {SDK / "python" / path: text for path, text in python.files(found).items()}
    if importlib.util.find_spec("sdk.generate.typescript"):
        from sdk.generate import typescript

        texts |= {SDK / "typescript" / path: text for path, text in typescript.files(found).items()}
    return texts


def main() -> int:
    """Write or compare; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sdk.generate", description="Generate the surfaces of the kits.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    is_check = parser.parse_args().check
    outdated = {path: text for path, text in files().items() if not path.exists() or path.read_text() != text}
    for path, text in outdated.items():
        if is_check:
            sys.stderr.write(f"{path.relative_to(SDK.parent)} is out of date; run `make sdk`\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if is_check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
