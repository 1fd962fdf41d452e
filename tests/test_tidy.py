"""House rules that only tighten: an exception may be taken off its list, never added without a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "synap").rglob("*.py"))
NAMES = [str(file.relative_to(ROOT)) for file in FILES]

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
# File to the length it has been allowed so far.
LONG_FILES: dict[str, int] = {}
# "file:function" to the length it has been allowed so far.
LONG_FUNCTIONS: dict[str, int] = {}

UNPREDICTABLE = {"time", "random", "uuid", "secrets", "datetime"}
MAY_IMPORT = {
    "synap/commands/chance.py": {"secrets"},
    "synap/commands/credentials.py": {"secrets"},
    # For measuring, which no result depends on.
    "synap/commands/runner.py": {"secrets", "time"},
}

every_file = pytest.mark.parametrize("name", NAMES)


def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text())


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, int]]:
    """Every function and method with its number of lines."""
    for node in ast.iter_child_nodes(tree):
        name = within
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{within}.{node.name}".lstrip(".")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, (node.end_lineno or 0) - node.lineno + 1
        yield from functions(node, name)


def imported(tree: ast.AST) -> set[str]:
    """The top-level names of all modules imported anywhere in a file."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.partition(".")[0])
    return modules


@every_file
def test_a_file_is_short(name: str) -> None:
    lines = len((ROOT / name).read_text().splitlines())
    assert lines <= LONG_FILES.get(name, FILE_LINES_MAX)
    assert name not in LONG_FILES or lines > FILE_LINES_MAX, "short again: take it off LONG_FILES"


@every_file
def test_functions_are_short(name: str) -> None:
    for function, lines in functions(parsed(name)):
        allowed = LONG_FUNCTIONS.get(f"{name}:{function}", FUNCTION_LINES_MAX)
        assert lines <= allowed, f"{function} has {lines} lines, at most {allowed} are allowed"


def test_the_lists_of_exceptions_name_only_what_exists() -> None:
    known = {f"{name}:{function}" for name in NAMES for function, _ in functions(parsed(name))}
    assert set(LONG_FUNCTIONS) <= known
    assert LONG_FILES.keys() | MAY_IMPORT.keys() <= set(NAMES)


@every_file
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(parsed(name))


@every_file
def test_only_the_program_prints(name: str) -> None:
    calls = [node.func for node in ast.walk(parsed(name)) if isinstance(node, ast.Call)]
    prints = any(isinstance(called, ast.Name) and called.id == "print" for called in calls)
    assert not prints or name == "synap/cli.py"


@every_file
def test_nothing_is_begun_by_a_fork(name: str) -> None:
    # uvloop forks, for which the server stands still the longer the more memory it has; subprocess.Popen does not.
    called = {node.attr for node in ast.walk(parsed(name)) if isinstance(node, ast.Attribute)}
    assert not called & {"create_subprocess_exec", "create_subprocess_shell", "fork"}


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("synap/engines/", "synap/commands/"))])
def test_engines_and_commands_know_no_clock_and_no_chance(name: str) -> None:
    assert imported(parsed(name)) & UNPREDICTABLE == MAY_IMPORT.get(name, set())


@pytest.mark.parametrize("folder", sorted({file.parent for file in (ROOT / "tests").rglob("test_*.py")}))
def test_every_folder_of_tests_is_a_package(folder: Path) -> None:
    assert (folder / "__init__.py").exists()
