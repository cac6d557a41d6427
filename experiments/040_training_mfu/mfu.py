"""Share of the GPU's peak that training steps reach (MFU), at true shapes with random weights and real video.

Video-XL-2 7B: LoRA on the language model, projector and compressor learn, the tower is frozen; rows of
packed documents of at most 8,192 tokens, each document a video of 64 frames and a conversation about it,
decoded from mp4 by workers while the GPU trains. The steps are those of `python train.py`: the same module,
loader and trainer.

    python experiments/040_training_mfu/mfu.py --as-json results.json
    python experiments/040_training_mfu/mfu.py --tiny         # a model in miniature, on a CPU, in seconds
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.console import Console

from vxl.cli.bench.sizes import SIZES
from vxl.config.compose import compose
from vxl.logger.csv import Csv, CsvConfig
from vxl.model import build_model
from vxl.option.build import build
from vxl.run.metrics import MetricsFile
from vxl.run.provenance import commit_of
from vxl.train.debug.profile import Profile
from vxl.train.launch.processes import join_processes
from vxl.train.lightning_trainer import build_trainer
from vxl.train.report.meter import StepMeter
from vxl.train.report.throughput import flops_of, peak_of
from vxl.train.step.compiled import compile_blocks, compiled_modules
from vxl.train.step.data_module import DataModule
from vxl.train.step.micro_batch import with_micro_batch
from vxl.train.step.module import VideoLanguageModule
from vxl.train.step.stage import freeze, part_of
from vxl.train.trainer import device_of

ROOT = Path(__file__).parents[2]
CLIPS = ROOT / "examples" / "clips"
PACKAGES = ("torch", "transformers", "lightning")
WHO = ("human", "gpt")
FRAMES = "video.max_frames=64"
"""Of a video at true size, three of which fill a row."""
SHORT = ["data.max_tokens=2048", "video.max_frames=16"]
"""Rows of which the variant `auto` looks how many fit at once, of eight."""
VARIANTS = {"eager": "none", "compiled": "inductor", "traced": "aot_eager", "auto": "none"}
KERNELS = 40
"""Kernels that a row lists."""


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parsed.add_argument("--tiny", action="store_true", help="a model in miniature, on the CPU")
    parsed.add_argument("--variants", default="compiled", help=f"some of {','.join(VARIANTS)}")
    parsed.add_argument("--warm", type=int, default=8, help="steps before the measured ones")
    parsed.add_argument("--steps", type=int, default=20, help="measured steps")
    parsed.add_argument("--workers", type=int, default=14, help="processes that decode")
    parsed.add_argument("--as-json", type=Path, help="where the numbers go, after each variant")
    given = parsed.parse_args()
    rows = run(**vars(given))
    print(json.dumps([{k: v for k, v in row.items() if k != "kernels"} for row in rows], indent=1))


def run(
    tiny: bool, variants: str, warm: int, steps: int, workers: int, as_json: Path | None
) -> list[dict[str, Any]]:
    """Measures each variant on the same model."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        size = SIZES["tiny" if tiny else "published"]
        words = [*size.parts, *size.training, *([] if tiny else [FRAMES]), *data_words(path, workers)]
        words += ["logger=csv", "data.batch=1"]
        total = warm + steps + 2 * 3
        words += ["trainer.log_every=1", f"trainer.max_steps={total}"]
        config = compose("train", words)
        device = device_of(config.trainer)
        torch.set_float32_matmul_precision("high")
        began = time.perf_counter()
        data = DataModule(config, rank=0, ranks=1)
        data.prepare_data()
        model = build_model(config, vocab_size=len(data.tokenizer), device=device, pretrained=False)
        say(f"built on {device} in {time.perf_counter() - began:.0f} s")
        for variant in variants.split(","):
            try:
                own = fitted(words if tiny else [*words, *SHORT], model) if variant == "auto" else config
                row = measure(own, model, path / variant, variant, warm, steps)
            except Exception as error:  # a row that failed must not cost the others
                row = {"variant": variant, "error": str(error)[:300]}
                torch.cuda.empty_cache()
            rows.append({**about(config, device), **row})
            say(json.dumps({k: v for k, v in row.items() if k != "kernels"}))
            if as_json is not None:
                as_json.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


def data_words(folder: Path, workers: int) -> list[str]:
    """Writes conversations about the example clips, and returns the words that train on them."""
    listed = []
    for clip in json.loads((CLIPS / "clips.json").read_text()):
        times = " ".join(f"{s['start']:.1f} to {s['end']:.1f} s: {s['text']}" for s in clip["segments"])
        turns = [("Describe the video.", clip["caption"]), ("What happens when?", times)]
        turns += [(q["question"], q["options"]["ABCD".index(q["answer"])]) for q in clip["questions"]]
        said = [{"from": who, "value": text} for turn in turns for who, text in zip(WHO, turn, strict=True)]
        said[0]["value"] = "<image>\n" + said[0]["value"]
        listed.append({"id": clip["video"], "video": clip["video"], "conversations": said})
    (folder / "list.json").write_text(json.dumps(listed))
    return [
        "data=json",
        f"data.json={folder / 'list.json'}",
        f"data.videos={CLIPS}",
        "data.packing=true",
        f"data.workers={workers}",
        f"paths.cache={folder / 'cache'}",
    ]


def fitted(words: list[str], model: torch.nn.Module) -> Any:
    """The config with as many rows at once as fit, as `python train.py trainer.micro_batch=auto` finds it."""
    config = compose("train", [*words, "data.batch=8", "trainer.micro_batch=auto"])
    device, began = device_of(config.trainer), time.perf_counter()
    freeze(model, config.stage)
    found = with_micro_batch(config, model, device, None if device.type == "cuda" else 1 << 28)
    say(f"{found.data.batch} rows at once, x {found.trainer.accumulate}: {time.perf_counter() - began:.0f} s")
    return found


class Record(Callback):
    """What each step saw and when it ended."""

    def __init__(self, meter: StepMeter, steps: int) -> None:
        self.meter, self.steps = meter, steps
        self.ended: list[float] = []
        self.seen: list[Any] = []
        self.waited: list[float] = []
        self.numbers: dict[str, float] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.meter.start(trainer, pl_module.device)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        now = time.perf_counter()
        self.numbers = self.meter.measure(outputs["step"], trainer).numbers
        self.meter.restart_clock()
        self.ended.append(now)
        self.seen.append(outputs["step"])
        self.waited.append(self.numbers["data_wait"])
        if len(self.ended) <= 3 or len(self.ended) % 10 == 0:
            loss, rate = (self.numbers[name] for name in ("loss", "tokens_per_s"))
            say(f"step {len(self.ended)}: loss {loss:.3f}, {rate:,.0f} tokens/s")


def measure(
    config: Any, model: torch.nn.Module, folder: Path, variant: str, warm: int, steps: int
) -> dict[str, Any]:
    """Trains some steps and returns their numbers."""
    folder.mkdir()
    device = device_of(config.trainer)
    module = VideoLanguageModule(
        model, config.stage, config.optim, config.trainer.max_steps, 0, config.trainer.frozen
    )
    peak = peak_of(device)
    flops = flops_of(model, peak or 1.0)
    for block in compiled_modules(model):  # as before another variant compiled it
        block._compiled_call_impl = None
    compile_blocks(model, VARIANTS[variant])
    meter = StepMeter(MetricsFile(folder / "metrics.csv"), Csv(CsvConfig()), 1, flops)
    record = Record(meter, steps)
    profile = Profile(folder / "profile", 3, warm=warm + steps)
    callbacks: list[Callback] = [profile.first, meter, record, profile]
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with join_processes(config.trainer, device.type == "cuda") as processes:
        trainer = build_trainer(config.trainer, build(config.strategy), processes, callbacks, folder)
        trainer.fit(module, datamodule=DataModule(config, rank=0, ranks=1))
    profile.show(Console(width=110))
    window = slice(warm, warm + steps)
    seen = record.seen[window]
    seconds = record.ended[warm + steps - 1] - record.ended[warm - 1]
    by_part: dict[str, float] = {}
    for step in seen:
        for part, count in flops.by_part(step).items():
            by_part[part] = by_part.get(part, 0.0) + count / len(seen)
    tokens, frames = (sum(getattr(step, name) for step in seen) for name in ("tokens", "frames"))
    between = [b - a for a, b in zip(record.ended[warm - 1 :], record.ended[window], strict=False)]
    return {
        "variant": variant,
        "rows": [config.data.batch, config.trainer.accumulate],
        "steps": len(seen),
        "seconds_a_step": seconds / len(seen),
        "seconds_min_max": [min(between), max(between)],
        "mfu": None if peak is None else sum(by_part.values()) * len(seen) / seconds / peak,
        "tflop_a_step": {part: count / 1e12 for part, count in by_part.items()},
        "tflop_of_all": sum(by_part.values()) / 1e12,
        "tokens_per_s": tokens / seconds,
        "frames_per_s": frames / seconds,
        "data_wait": sum(record.waited[window]) / len(seen),
        "peak_memory_gib": record.numbers["peak_memory_bytes"] / 2**30,
        "tokens_a_step": tokens / len(seen),
        "visual_tokens_a_step": sum(step.visual_tokens for step in seen) / len(seen),
        "frames_a_step": frames / len(seen),
        "documents_a_step": sum(step.samples for step in seen) / len(seen),
        "supervised_a_step": sum(step.supervised for step in seen) / len(seen),
        "loss_first_last": [record.seen[0].loss, seen[-1].loss],
        "sections_ms": {name: 1000 * spent / profile.steps for name, spent in profile.seconds.items()},
        "kernels": [(name, calls / 3, 1000 * spent / 3) for name, calls, spent in profile.kernels[:KERNELS]],
    }


def about(config: Any, device: torch.device) -> dict[str, Any]:
    """The machine, the versions, the commit and the model."""
    outline = build_model(config, device="meta", pretrained=False)
    parameters: dict[str, int] = {}
    for name, parameter in outline.named_parameters():
        parameters[part_of(name)] = parameters.get(part_of(name), 0) + parameter.numel()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "commit": os.environ.get("VXL_COMMIT") or commit_of(ROOT),
        "parameters": parameters,
        "lora": dataclasses.asdict(config.llm.lora),
        "workers": config.data.workers,
    }


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
