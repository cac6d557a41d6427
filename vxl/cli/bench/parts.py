"""The rows of `vxl bench all`: decoding, tower and compressor, prefill, question, answer, a training step."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from vxl.cli.bench.measurements import Row
from vxl.cli.bench.prompt import head_of
from vxl.cli.bench.sizes import Size
from vxl.config.compose import compose
from vxl.data.batch.collate import Batch
from vxl.data.batch.encoded import Encoded
from vxl.generate import ask, watch
from vxl.model import VideoLanguageModel, build_model
from vxl.option.build import build
from vxl.option.files import CLIPS
from vxl.prefill.summarizing import around
from vxl.terminal.screen import Screen
from vxl.train.config import TrainConfig
from vxl.train.launch.processes import join_processes
from vxl.train.lightning_trainer import build_trainer
from vxl.train.report.train_log import logged_to
from vxl.train.step.micro_batch import longest_rows
from vxl.train.step.module import VideoLanguageModule
from vxl.train.step.train_step import TrainStep
from vxl.video.load import load_video
from vxl.video.sample import Uniform, UniformConfig

POLICIES = ("full", "snapkv")
"""Policies that watch and answer: one that keeps everything, and one that forgets at the question."""
WARM = 2
"""Repeats of the short rows that do not count; the long ones have one."""


def measured_rows(given: Size, device: torch.device) -> Iterator[Row]:
    """All rows, one model after the other on the device."""
    yield decoding_row(given)
    yield from watching_rows(given, device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    yield training_row(given, device)


def watching_config(given: Size, kv: str = "full") -> TrainConfig:
    """The model as it watches, in chunks."""
    words = [*given.parts, "logger=csv", "prefill=chunked", *given.watching, "relevance=uniform", f"kv={kv}"]
    return compose("train", words)


def training_config(given: Size, steps: int) -> TrainConfig:
    """The model as it learns."""
    words = [*given.parts, *given.training, "logger=csv", f"trainer.max_steps={steps}"]
    return compose("train", words)


def decoding_row(given: Size) -> Row:
    """Frames of the embedded clips, spread over each, decoded and resized for the tower by one thread."""
    pixels = watching_config(given).vision.pixels
    sampler = Uniform(UniformConfig(max_frames=given.decoded))
    clips = sorted(CLIPS.glob("*.mp4"))
    frames = 0

    def decode() -> None:
        nonlocal frames
        loaded = [load_video(clip, sampler, pixels) for clip in clips]
        frames = sum(len(each.seconds) for each in loaded)

    seconds, _ = repeated(decode, given.repeats, torch.device("cpu"))
    return Row("decoding frames", frames, "frames", seconds, None)


def watching_rows(given: Size, device: torch.device) -> Iterator[Row]:
    """Tower and compressor alone; then, policy by policy, prefill in chunks, a first question, its answer."""
    config = watching_config(given)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model = build_model(config, device=device, dtype=dtype, pretrained=False).eval()
    piece, size = config.prefill.groups * model.compressor.frames_per_group, model.vision.pixels.size
    made = torch.Generator(device).manual_seed(0)
    shape = (piece, 3, size, size)
    piece_FCHW = torch.randint(256, shape, generator=made, dtype=torch.uint8, device=device)
    pieces = [piece_FCHW] * (given.frames // piece)

    def encode() -> None:
        for each_FCHW in pieces:
            model.encode(each_FCHW)

    with torch.no_grad():
        seconds, peak = repeated(encode, given.repeats, device)
        visual, _ = model.encode_for_pruner(piece_FCHW)
    yield Row("vision + compressor", given.frames, "frames", seconds, peak)
    # The same visual tokens again and again: what follows is the language model's time alone.
    ready = visual, torch.empty(0)
    model.encode_for_pruner = lambda frames_FCHW, visuals=(): ready
    head = head_of(model, given.frames)
    for name in POLICIES:
        model.policy = build(watching_config(given, name).kv)
        model.policy.equip(model.llm)
        model.prefill = around(build(config.prefill), model.policy, config.seed)
        times = [watch_and_ask(model, head, pieces, given) for _ in range(1 + given.repeats)][1:]
        works = (len(head), "tokens"), (given.question, "tokens"), (given.answer - 1, "tokens")
        for number, what in enumerate(("chunked prefill", "first question", "decoding tokens")):
            each_s, peaks = zip(*(one[number] for one in times), strict=True)
            peak = max(peaks) if device.type == "cuda" else None
            yield Row(f"{what}, kv={name}", *works[number], list(each_s), peak)


def watch_and_ask(
    model: VideoLanguageModel, head: Encoded, pieces: Sequence[Tensor], given: Size
) -> list[tuple[float, int | None]]:
    """Seconds and peak memory of watching what is encoded already, of a first question up to its first token,
    and of the tokens behind it."""
    device = model.device
    question = list(range(100, 100 + given.question))
    ends: list[float] = []
    costs = []

    def answer(tokens: int) -> None:
        ends.clear()
        settings = {"max_new_tokens": tokens, "texts": ["What happens?"]}
        ask(context, question, **settings, on_token=lambda row, token: ends.append(now(device)))

    forget_peak(device)
    begin = now(device)
    context = watch(model, head, [list(pieces)])
    costs.append((now(device) - begin, peak_bytes(device)))
    forget_peak(device)
    begin = now(device)
    answer(1)
    costs.append((ends[0] - begin, peak_bytes(device)))
    forget_peak(device)
    for _ in range(2):  # the first captures the graph where there is one
        answer(given.answer)
    costs.append((ends[-1] - ends[0], peak_bytes(device)))
    return costs


def training_row(given: Size, device: torch.device) -> Row:
    """An optimizer step of LoRA, projector and compressor, as training takes it: one row, as long as it may
    get, without loading data."""
    steps = WARM + given.repeats
    config = training_config(given, steps)
    model = build_model(config, device=device, pretrained=False)
    module = Timed(model, config.stage, config.optim, steps, config.seed, config.trainer.frozen)
    steps_of_batches: Any = [[longest_rows(config, 1)]] * steps
    with (
        tempfile.TemporaryDirectory() as folder,
        join_processes(config.trainer, device.type == "cuda") as processes,
        logged_to(Path(folder) / "train.log", Screen(quiet=True), True),
    ):
        trainer = build_trainer(config.trainer, build(config.strategy), processes, [], Path(folder))
        trainer.fit(module, train_dataloaders=DataLoader(steps_of_batches, batch_size=None))
    tokens = steps_of_batches[0][0].tokens
    return Row("training step, LoRA", tokens, "tokens", module.seconds[WARM:], peak_bytes(device))


class Timed(VideoLanguageModule):
    """What training runs, with the seconds of each step."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.seconds: list[float] = []

    @override
    def training_step(self, batches: Sequence[Batch], batch_idx: int) -> dict[str, TrainStep]:
        if len(self.seconds) == WARM:
            forget_peak(self.device)
        begin = now(self.device)
        outcome = super().training_step(batches, batch_idx)
        self.seconds.append(now(self.device) - begin)
        return outcome


def repeated(
    action: Callable[[], object], repeats: int, device: torch.device
) -> tuple[list[float], int | None]:
    """Seconds of each repeat behind those that warm up, and the highest memory."""
    for _ in range(WARM):
        action()
    forget_peak(device)
    seconds = []
    for _ in range(repeats):
        begin = now(device)
        action()
        seconds.append(now(device) - begin)
    return seconds, peak_bytes(device)


def now(device: torch.device) -> float:
    """Seconds on a clock, when the device has done what it was given; on a CPU those of this process, so that
    other work on the machine counts little."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def forget_peak(device: torch.device) -> None:
    """Begins anew to look for the highest memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int | None:
    """The highest memory of the GPU's allocator since `forget_peak`; None on a CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device)
