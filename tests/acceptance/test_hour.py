"""`vxl ask` on a one-hour video: memory beyond the cache stays where it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
import importlib.util, json, sys
import torch
from pathlib import Path

spec = importlib.util.spec_from_file_location("hour", "experiments/005_watch_once/hour.py")
hour = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hour)
video, out = sys.argv[1:]
hour.loop("examples/clips/bunny.mp4", video, 3600)

from vxl.cli.main import main
from vxl.generate.loaded import LoadedModel
from vxl.llm.decoder import Decoder

caches, marks, watch, new_cache = [], [], LoadedModel.watch, Decoder.new_cache
Decoder.new_cache = lambda *a, **k: caches.append(new_cache(*a, **k)) or caches[-1]

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 - (caches[0].bytes() if caches else 0)

def watched(self, *looks, on_piece=None):
    def mark(done, total):
        marks.append((done / total * 60, resident(), caches[0].bytes()))
        on_piece(done, total)
    return watch(self, *looks, on_piece=mark)

LoadedModel.watch = watched
main([
    "ask", "model=tiny", "prefill=chunked", "video.fps=0.2", "video.max_fps=1", "video.max_frames=720",
    "max_new_tokens=4", video, "What happens?",
])
Path(out).write_text(json.dumps(marks))
"""


@pytest.mark.slow
def test_memory_is_flat_over_an_hour(tmp_path: Path) -> None:
    out = tmp_path / "marks.json"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "hour.mp4"), str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    marks = json.loads(out.read_text())
    assert "720 frames" in run.stderr
    late = [resident for minute, resident, _ in marks if minute >= 10]
    assert len(late) > 8
    assert max(late) - late[0] < 50e6
    assert marks[-1][2] > 0  # the cache was looked at
