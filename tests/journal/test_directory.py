"""One server at a time on a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synap.journal.directory import LOCK_NAME, DirectoryInUse, DirectoryLock

HOLD = """
import sys
from pathlib import Path
from synap.journal.directory import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has the directory."""
    arguments = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_missing_directory_is_made_and_kept_from_strangers(tmp_path: Path) -> None:
    directory = tmp_path / "some" / "where"
    with DirectoryLock(directory):
        assert directory.is_dir()
        assert directory.stat().st_mode & 0o007 == 0


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(DirectoryInUse) as refusal:
        DirectoryLock(tmp_path)
    assert str(refusal.value) == f"{tmp_path} is in use by process {holder.pid}"


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path), pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}$"):
        DirectoryLock(tmp_path)


def test_a_refused_one_does_not_disturb_the_holder(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    for _ in range(2):
        with pytest.raises(DirectoryInUse):
            DirectoryLock(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == f"{holder.pid}\n"


def test_a_holder_that_was_killed_holds_it_no_more(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    with DirectoryLock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_a_released_directory_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(3):
        DirectoryLock(tmp_path).release()


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    waiting = [sys.executable, "-c", "print('here', flush=True); input()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        lock.release()
        with DirectoryLock(tmp_path):
            assert child.poll() is None
        child.kill()
