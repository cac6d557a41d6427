"""Files and folders that are whole or not there."""

import os
import subprocess
import sys

from vxl.atomic import write_file


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    write_file(tmp_path / "a" / "f", b"old")
    script = (
        "import os; from pathlib import Path; from vxl import atomic\n"
        "atomic.os.fsync = lambda f: os._exit(9)\n"
        f"atomic.write_file(Path({str(tmp_path / 'a' / 'f')!r}), b'new')"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    assert (tmp_path / "a" / "f").read_bytes() == b"old"
    write_file(tmp_path / "a" / "f", b"new")
    assert (tmp_path / "a" / "f").read_bytes() == b"new"
    assert [name for name in os.listdir(tmp_path / "a") if not name.startswith(".")] == ["f"]
