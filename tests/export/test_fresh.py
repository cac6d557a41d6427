import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vxl
from tests.run_directories import CLIP, make_run
from vxl.export.write import export_transformers
from vxl.generate.asking import feed_questions, forked

QUESTION = "What is shown at 00:05?"
MODELS = {
    "tiny": ["model=tiny"],
    "videoxl": ["model=videoxl", "size=tiny"],
    "videoxl_pro": ["model=videoxl_pro", "size=tiny", "llm.tied=true"],
    "videoxl_pro_march": ["model=videoxl_pro_march", "size=tiny"],
    "videoxl2": ["model=videoxl2", "size=tiny", "kv=snapkv", "kv.of=visual", "prefill=chunked"],
}


@pytest.mark.slow
def test_every_model_of_the_family_runs_without_vxl(tmp_path: Path) -> None:
    jobs = {}
    for name, words in MODELS.items():
        run = make_run(tmp_path / "runs", name, *words, steps=(10,))
        folder = tmp_path / "Ünusual path 1.0" / f"{name}-v2.5 (é)"
        folder.parent.mkdir(exist_ok=True)
        export_transformers(run, folder)
        expected = tmp_path / f"{name}.pt"
        torch.save(said_by_vxl(run), expected)
        jobs[name] = {
            "folder": str(folder),
            "video": str(CLIP),
            "question": QUESTION,
            "expected": str(expected),
        }
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fresh.py")), str(tmp_path / "jobs.json")],
        env=clean | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.split()[0] in MODELS] == [
        f"{name} logits greedy chat AutoModel" for name in MODELS
    ]
    assert "refusal said" in lines
    assert "pipeline image-text-to-text any-to-any text-generation" in lines
    assert "round trip weights processor code" in lines


def said_by_vxl(run: Path) -> dict[str, object]:
    """vxl's scores of the answer's first token, and its answer."""
    loaded = vxl.load(run, device="cpu")
    context = loaded.watch(CLIP)
    question = loaded.prompt.tail(QUESTION)
    with torch.no_grad():
        _, cache = forked(context, [question])
        logits_BV = loaded.model.llm.logits(feed_questions(context, cache, [question], None))
    return {"logits": logits_BV[0], "text": loaded.ask(context, QUESTION, max_new_tokens=12).text}
