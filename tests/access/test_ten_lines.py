"""What docs/security.md promises: ten lines from a laptop to a guarded server, run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def ten_lines() -> list[str]:
    section = PAGE.read_text().partition("ten lines\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (.*)$", section, re.MULTILINE)


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="they need openssl and curl")
def test_ten_lines_make_a_guarded_server(tmp_path: Path) -> None:
    lines = ten_lines()
    assert len(lines) == 10
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    script = "\n".join(lines).replace("15500", port) + "\nkill -TERM %1; wait %1; echo ended $?\n"
    bin_path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": bin_path, "HOST": "127.0.0.1", "SYNAP_SERVER_PORT": port}
    done = subprocess.run(
        ["bash", "-c", script], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    role, allowed, refused = re.findall(r"^{.*}$", done.stdout, re.MULTILINE)
    assert '"role":"shop"' in role
    assert '"success":true' in allowed
    assert '"FORBIDDEN"' in refused
    assert "ended 0" in done.stdout
    logged = re.findall(r"synap\.audit: (\S+)", done.stderr)
    assert logged == ["login", "auth.create_role", "auth.create_key", "denied"]
