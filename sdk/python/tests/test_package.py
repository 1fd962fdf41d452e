"""The wheel in an empty environment, the examples, and the programs in the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from sdk.generate import model
from sdk.generate.__main__ import files
from tests.support import ServerProcess

KIT = Path(__file__).parents[1]
PAGE = KIT.parents[1] / "docs" / "python.md"
EXAMPLES = sorted((KIT / "examples").glob("*.py"))
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
LONGEST_EXAMPLE = 80


def run(*command: str | Path, url: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "SYNAP_URL": url},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_files_are_up_to_date() -> None:
    assert [path.name for path, text in files().items() if path.suffix == ".py" and path.read_text() != text] == []


def test_every_error_code_is_explained() -> None:
    missing = [failure.code for failure in model.failures() if f"`{failure.name}`" not in PAGE.read_text()]
    assert missing == []


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(server: ServerProcess, example: Path) -> None:
    assert len(example.read_text().splitlines()) < LONGEST_EXAMPLE
    assert run(sys.executable, "-W", "error", example, url=server.url)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_documentation_runs(server: ServerProcess, tmp_path: Path, number: int) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[number].replace("http://127.0.0.1:15500", server.url))
    run(sys.executable, "-W", "error", program, url=server.url)


@pytest.mark.timeout(180)
def test_the_wheel_works_in_an_empty_environment(server: ServerProcess, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, KIT)
    (wheel,) = tmp_path.glob("synap_sdk-*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    used = run(python, "-c", PROGRAMS[0].replace("http://127.0.0.1:15500", server.url), cwd=tmp_path)
    assert "hello" in used
    where = run(python, "-c", "import synap_sdk; print(synap_sdk.__file__)", cwd=tmp_path)
    assert str(tmp_path) in where
    assert (Path(where.strip()).parent / "py.typed").exists()
