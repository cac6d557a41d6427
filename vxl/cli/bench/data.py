"""`vxl bench data`: what the data side costs. Decoding, the stream on one thread, and all that is not
decoding.

Every rate stands beside that of PyAV reading the same files straight through, on one thread, with the same
conversion and resize. Times are a core's own (process time), so that other work on the machine does not
count. Heavy imports happen inside the functions.
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.config.compose import compose
from vxl.option.build import build

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from torch import Tensor

    from vxl.data.batch.examples import Examples
    from vxl.data.sample import Visual
    from vxl.data.source.source import IndexedShards
    from vxl.train.config import TrainConfig

SECTIONS = ("decoding", "stream", "overhead", "kept", "features", "threads")
ASK = "What is shown?"


@dataclass(frozen=True)
class StreamRow:
    """One case of the stream: samples from shards to examples, decoding and tokens included."""

    case: str
    samples: int
    frames: int
    samples_per_s: float
    frames_per_s: float
    pyav_frames_per_s: float
    ratio: float


@dataclass(frozen=True)
class OverheadRow:
    """What an optimizer step of the tiny model waits for besides decoding."""

    case: str
    data_ms: float
    """Reading index and shards, costs, packing, tokens, collation."""
    step_ms: float
    """Forward, backward and optimizer of the same batches."""
    share: float


def run_data(parsed: argparse.Namespace) -> None:
    """`vxl bench data`."""
    from vxl.cli.bench import features, video  # late: torch takes 2 s, and --help needs none of it
    from vxl.table import listing_of
    from vxl.terminal.screen import Screen

    screen = Screen()
    parsed.cache.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Any]] = {}
    if not parsed.only or "decoding" in parsed.only:
        rows["decoding"] = video.bench(parsed.cache, repeats=parsed.repeats)
        listing_of("decoding", rows["decoding"]).show(screen)
    if not parsed.only or "stream" in parsed.only:
        rows["stream"] = measure_streams(parsed.cache, repeats=parsed.repeats)
        listing_of("stream", rows["stream"]).show(screen)
    if not parsed.only or "overhead" in parsed.only:
        rows["overhead"] = overhead(parsed.cache)
        listing_of("overhead", rows["overhead"]).show(screen)
    if not parsed.only or "kept" in parsed.only:
        with one_thread():
            rows["kept"] = video.kept(parsed.cache)
        listing_of("kept frames", rows["kept"]).show(screen)
    if not parsed.only or "features" in parsed.only:
        with one_thread():
            rows["features"] = features.kept_features(parsed.cache)
        listing_of("kept features", rows["features"]).show(screen)
    if not parsed.only or "threads" in parsed.only:
        rows["threads"] = video.threads(parsed.cache, repeats=parsed.repeats)
        listing_of("decoding by threads", rows["threads"]).show(screen)
    if parsed.as_json:
        numbers = {name: [asdict(row) for row in section] for name, section in rows.items()}
        parsed.as_json.write_text(json.dumps(numbers, indent=1) + "\n")


def measure_streams(cache: Path, *, repeats: int = 5) -> list[StreamRow]:
    """The stream over the example clips and over five minutes with a key frame every 24 frames."""
    # late: torch takes 2 s, and --help needs none of it
    from vxl.cli.bench.video import CLIPS, TOWERS, five_minutes
    from vxl.video.sample import FpsConfig, UniformConfig

    clips = sorted(CLIPS.glob("*.mp4"))
    long_file = five_minutes(cache / "five_minutes_gop24.mp4")
    cases = [
        ("clips, at least every 2nd frame", clips, FpsConfig(fps=12, max_fps=None, max_frames=10_000)),
        ("clips, 16 frames", clips, UniformConfig(max_frames=16)),
        ("5 minutes, 32 frames", [long_file], UniformConfig(max_frames=32)),
    ]
    with one_thread(), tempfile.TemporaryDirectory(dir=cache) as folder:
        return [
            measure_stream(f"{name}, {size} px", files, config, size, Path(folder), repeats)
            for size in TOWERS
            for name, files, config in cases
        ]


def measure_stream(
    case: str, files: Sequence[Path], video: Any, size: int, folder: Path, repeats: int
) -> StreamRow:
    """Both sides in turns, after making sure that they give the same frames."""
    import torch  # late: torch takes 2 s, and --help needs none of it

    from vxl.cli.bench.video import read_straight
    from vxl.data.order.mixture import Mixture
    from vxl.data.order.rows import Order
    from vxl.data.order.stream import Stream
    from vxl.video.transform import PixelSpec

    source = shards_of(files, folder / f"{files[0].stem}-{len(files)}")
    sampler, pixels = build(video), PixelSpec(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    examples = examples_of(
        compose("train", ["logger=csv", "data.max_tokens=1000000"]), source, sampler, pixels
    )
    order = Order(Mixture({"files": source}, seed=0), examples.cost, seed=0, bucket=len(files))

    def ours() -> "list[Tensor]":
        stream = Stream(order, examples.make, examples.masked, batch=1, stop_row=len(files))
        frames = {
            example.key: example.frames_FCHW for micro in stream for row in micro.rows for example in row
        }
        return [frames[path.stem] for path in files]

    def wanted(visual: "Visual") -> Any:
        return sampler.select(visual.frames, visual.fps).indices

    indices = [wanted(source.record(number).visuals[0]) for number in range(len(files))]

    def theirs() -> "list[Tensor]":
        return [read_straight(path, wanted_F, pixels) for path, wanted_F in zip(files, indices, strict=True)]

    for one, other in zip(ours(), theirs(), strict=True):
        assert torch.equal(one[: len(other)], other), f"{case}: the frames differ"
    ours_s, theirs_s = in_turns([ours, theirs], repeats)
    frames = sum(map(len, indices))
    return StreamRow(
        case, len(files), frames, len(files) / ours_s, frames / ours_s, frames / theirs_s, theirs_s / ours_s
    )


def overhead(cache: Path, *, steps: int = 20) -> list[OverheadRow]:
    """Planning, reading, tokens, packing and collation, against the step of the tiny model that they feed."""
    import torch  # late: Lightning takes seconds

    from vxl.model import build_model
    from vxl.train.step.data_module import DataModule
    from vxl.train.step.optimizer import build_optimizer

    rows = []
    for case, words in (("one sample a row", []), ("packed", ["data.packing=true", "data.batch=2"])):
        config = compose("train", ["logger=csv", "data.workers=0", f"paths.cache={cache}", *words])
        with one_thread():
            data = DataModule(config, rank=0, ranks=1)
            data.prepare_data()
            model = build_model(config, vocab_size=len(data.tokenizer))
            optimizer = build_optimizer(model, config.stage, config.optim)

            def train(batches: Any, model: Any = model, optimizer: Any = optimizer) -> None:
                for batch in batches:
                    model(batch).loss_sum.backward()
                optimizer.step()
                optimizer.zero_grad()

            batches_of_steps = list(itertools.islice(data.train_dataloader(), steps))
            train(batches_of_steps[0])
            begin = time.process_time()
            for batches in batches_of_steps:
                train(batches)
            step_s = (time.process_time() - begin) / steps
            # Nothing is remembered from the pass before: a new module plans and tokenises again.
            undecoded = DataModule(config, rank=0, ranks=1)
            undecoded.examples = without_decoding(undecoded.examples)
            begin = time.process_time()
            for _ in itertools.islice(undecoded.train_dataloader(), steps):
                pass
            data_s = (time.process_time() - begin) / steps
        torch.manual_seed(0)
        rows.append(OverheadRow(case, 1000 * data_s, 1000 * step_s, data_s / step_s))
    return rows


def without_decoding(examples: "Examples") -> "Examples":
    """The same examples with black frames in the place of decoded ones."""
    import torch  # late: torch takes 2 s, and --help needs none of it

    from vxl.data.batch.examples import Examples
    from vxl.data.sample import Sample

    side = examples.pixels.size

    def black(visual: "Visual", media: Any) -> "Tensor":
        (visual_shown,) = examples.shown(Sample("black", visuals=(visual,)))
        count = 1 if visual.kind == "image" else len(visual_shown.seconds)
        count += -count % examples.prompt.plan.frames_per_group
        return torch.zeros(count, 3, side, side, dtype=torch.uint8)

    return Examples(examples.prompt, examples.sampler, examples.pixels, black)


def examples_of(config: "TrainConfig", source: "IndexedShards", sampler: Any, pixels: Any) -> "Examples":
    """Examples for a source, with a tokenizer trained on its texts."""
    from vxl.compressor.base import plan  # late: torch takes 2 s, and --help needs none of it
    from vxl.data.base import texts_of
    from vxl.data.batch.examples import Examples
    from vxl.data.batch.prompt import Prompt
    from vxl.data.batch.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(texts_of(source))
    shape = plan(config.compressor, config.vision.grid)
    return Examples(Prompt(config.prompt, tokenizer, shape, config.data.max_tokens), sampler, pixels)


def shards_of(files: Sequence[Path], folder: Path) -> "IndexedShards":
    """The files as shards, each with a question about it."""
    from vxl.data.source.source import IndexedShards  # late: PyAV and Pillow, and --help needs none of them
    from vxl.data.write.shards import TarMember, write_shards

    text = {"conversations": [{"role": "user", "content": ASK}, {"role": "assistant", "content": "A video."}]}
    members = [TarMember(path.stem, {"mp4": path, "json": text}) for path in files]
    write_shards(members, folder, overwrite=True)
    return IndexedShards(str(folder), cache=folder)


def in_turns(sides: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Median seconds of a core that each side takes, measured in turns."""
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, times in zip(sides, seconds, strict=True):
            begin = time.process_time()
            side()
            times.append(time.process_time() - begin)
    return [statistics.median(times) for times in seconds]


@contextmanager
def one_thread() -> Generator[None]:
    """Torch on one thread."""
    import torch  # late: torch takes 2 s, and --help needs none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
