"""Sweeps on disk as training and evaluation leave them, with answers drawn at random."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from vxl.evaluate.cost import summarise
from vxl.evaluate.fingerprint import Protocol
from vxl.evaluate.metrics import micro
from vxl.evaluate.report import Report, write_json
from vxl.evaluate.scoring import Graded, accuracy, by
from vxl.evaluate.work.answers import AnswerFile, RawAnswer

RATIOS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
KINDS = ("colour", "order", "count")


def write_sweep(
    root: Path, name: str, members: int, *, questions: int = 60, title: str = "", steps: int = 20
) -> Path:
    """A sweep of ratios and seeds; every third member of one is evaluated with a policy, too.

    Args:
        root: The folder of runs.
        name: Of the sweep.
        members: How many.
        questions: Of the benchmark, three a video.
        title: Added to the text of a key that differs, to see what becomes of it.
        steps: Rows of metrics.csv.
    """
    for number in range(members):
        ratio, seed = RATIOS[number // 3 % len(RATIOS)], number % 3
        width = number // (3 * len(RATIOS))
        run = root / name / f"ratio={ratio},seed={seed}" if not width else None
        run = run or root / name / f"ratio={ratio},seed={seed},width={width}"
        write_run(run, ratio, seed, width, title, steps)
        right = max(0.3, 0.9 - 0.05 * np.log2(ratio))
        evaluate(run, "clips", "", right, questions, seed=number, ratio=ratio)
        if number < 30:
            evaluate(run, "clips", "kv=snapkv,kv.keep=0.5", right - 0.1, questions, seed=number, ratio=ratio)
            evaluate(run, "needle", "", right, questions, seed=number, ratio=ratio, needles=True)
    return root / name


def write_run(run: Path, ratio: int, seed: int, width: int, title: str, steps: int) -> None:
    """A finished run."""
    run.mkdir(parents=True)
    config: dict[str, Any] = {
        "model": "tiny" + title,
        "seed": seed,
        "compressor": {"_target_": "vxl.compressor.dts.DTSConfig", "ratio": ratio},
        "kv": {"_target_": "vxl.kv.full.FullConfig"},
        "trainer": {"max_steps": steps},
    }
    if width:
        config["llm"] = {"width": width}
    elif title:
        config["model"] += str(ratio)
    (run / "resolved.yaml").write_text(yaml.safe_dump(config))
    (run / "provenance.json").write_text("{}")
    result = {"loss_last": 0.1 * np.log2(2 * ratio) + 0.01 * seed, "heldout_loss": 0.5 + 0.01 * ratio**0.5}
    result |= {"seconds": 400 / ratio + seed, "samples": 16 * steps, "visual_tokens_a_frame": 16 / ratio}
    (run / "RESULT.json").write_text(json.dumps(result))
    rows = ["step,loss,val/loss,val/accuracy"]
    for step in range(1, steps + 1):
        loss = 8 / (1 + step) + 0.05 * ratio**0.5 + 0.1 * seed
        rows.append(f"{step},{loss:.6f},{loss + 0.1:.6f},{min(0.9, 0.25 + step / 50):.4f}")
    (run / "metrics.csv").write_text("\n".join(rows) + "\n")


def evaluate(
    run: Path,
    benchmark: str,
    change: str,
    share: float,
    questions: int,
    *,
    seed: int,
    ratio: int,
    needles: bool = False,
    preset: str = "vxl",
    kv: dict[str, Any] | None = None,
) -> None:
    """An evaluation whose answers are right with a probability, drawn anew for each question."""
    random = np.random.default_rng(1000 * seed + len(benchmark) + len(change))
    hard = np.random.default_rng(7).random(questions)  # the same questions are hard for all
    work = run / "evaluate" / change / benchmark
    protocol = Protocol(
        {"checkpoint": str(run), "preset": preset, "parts": {"kv": kv} if kv else change},
        {"parser": "correct"},
    )
    file = AnswerFile(work, protocol.fingerprint, "w")
    graded, raw = [], []
    for number in range(questions):
        is_right = 0.5 * hard[number] + 0.5 * random.random() < share
        shown = f"frames/{number % 8}.jpg"
        if not (work / shown).exists():
            (work / "frames").mkdir(exist_ok=True)
            (work / shown).write_bytes(strip(number % 8))
        kept = [1.0, 0.25, 0.5, 0.0] if change else [1.0] * 4
        letter = "B" if is_right else "ACD"[int(random.integers(3))]
        raw.append(
            RawAnswer(
                key=f"q{number}",
                text=letter,
                cost={
                    **dict.fromkeys(
                        ("watch_ms", "video_ms", "video_prefill_ms", "question_ms"), 10.0 / ratio
                    ),
                    **{
                        "decode_ms": 1.0,
                        "new_tokens": 3,
                        "cache_bytes": 2**20 / ratio,
                        "visual_tokens": 128 / ratio,
                    },
                    **{"tokens": 200, "frames": 8, "peak_bytes": 2**28, "flops": 1e9},
                },
                shown=shown,
                kept=kept,
            )
        )
        labels = {"minutes": (str(5 * (1 + number % 2)),), "depth": (str(25 * (number // 2 % 5)),)}
        graded.append(
            Graded(
                key=f"q{number}",
                kind=KINDS[number % len(KINDS)],
                question="What is shown & asked <here>?",
                options=("a dog", "a cat", "a <b>bird</b>", "nothing"),
                answer="B",
                text=letter,
                parsed=letter,
                cluster=f"v{number // 3}",
                labels=labels if needles else {},
                index=number,
            )
        )
    file.add(raw)
    file.close()
    report = Report(
        benchmark=benchmark,
        run=run.name,
        checkpoint="step-000020",
        status="finished",
        member=change,
        settings={"device": "cpu"},
        protocol=protocol,
        overall=accuracy(graded),
        kinds=by(graded, lambda item: item.kind),
        metrics=[micro(graded)],
        cost=summarise(raw, "process"),
        graded=graded,
    )
    write_json(report, run / "evaluate" / change / f"{benchmark}.json")


def strip(number: int) -> bytes:
    """Four small frames side by side, as JPEG."""
    colours = np.random.default_rng(number).integers(0, 255, size=(1, 4, 3), dtype=np.uint8)
    made = io.BytesIO()
    Image.fromarray(colours.repeat(48, axis=0).repeat(48, axis=1)).save(made, "JPEG")
    return made.getvalue()
