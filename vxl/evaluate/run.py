"""`python evaluate.py`: ask a benchmark's questions, parse the answers, report."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vxl.atomic import why_not
from vxl.checkpoint.find import find, weights_of
from vxl.checkpoint.load import assemble
from vxl.checkpoint.resolved import read_config
from vxl.data.batch.answer import format_question, parse_letter
from vxl.data.sample import Loaded as LoadedSample
from vxl.data.sample import Sample
from vxl.errors import CheckpointError
from vxl.evaluate.benchmark import Benchmark, numbers
from vxl.evaluate.config import EvaluateConfig
from vxl.evaluate.cost import AnswerCost, PeakMemory, summarise
from vxl.evaluate.report import Report, show, write_figure, write_json
from vxl.evaluate.scoring import Graded, accuracy, by
from vxl.generate import Answer, Context
from vxl.generate.loaded import Loaded, Look
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.run.find import Run, find_run
from vxl.train.report.logger import LoggerConfig

log = logging.getLogger(__name__)


def run(config: EvaluateConfig, console: Console | None = None) -> Report:
    """Evaluates one checkpoint of a run: a table on the screen, JSON and a picture in the run, a row in W&B.

    Raises:
        ConfigError: There is no such run.
        CheckpointError: It has no such checkpoint, or the results can't be written beside it.
        DataError: A question's video can't be read.
    """
    console = console or Console()
    place = find(config.run, Path(config.paths.runs))
    directory, folder = weights_of(place, config.checkpoint)
    evaluated = find_run(str(directory), Path(config.paths.runs))
    status = evaluated.status
    if status != "finished":
        steps = f" of {evaluated.steps}" if evaluated.steps else ""
        where = f"{status}, step {evaluated.step}{steps}"
        console.print(f"{evaluated.name} is not finished ({where}): evaluating {folder.name}", markup=False)
    values = read_config(directory / "resolved.yaml")
    loaded = assemble(values, config.device, Path(config.paths.runs), directory, folder)
    benchmark = build(config.benchmark, data=values.get("data") or {}, cache=Path(config.paths.cache))
    loaded.use_threads_of_training()
    memory = PeakMemory(loaded.model.device)
    began = time.monotonic()
    graded, costs = [], []
    with memory:
        for item, cost in answer_all(loaded, benchmark, config.limit, config.max_new_tokens, console):
            graded.append(item)
            costs.append(cost)
    report = Report(
        benchmark=benchmark.name,
        run=evaluated.name,
        checkpoint=folder.name,
        status=status,
        settings={
            "max_new_tokens": config.max_new_tokens,
            "limit": config.limit,
            "device": str(loaded.model.device),
        },
        overall=accuracy(graded),
        kinds=by(graded, lambda item: item.kind),
        cost=summarise(costs, memory, time.monotonic() - began),
        graded=graded,
    )
    show(report, console)
    keep(report, evaluated, values, console)
    return report


def answer_all(
    loaded: Loaded, benchmark: Benchmark, limit: int | None, max_new_tokens: int, console: Console
) -> Iterator[tuple[Graded, AnswerCost]]:
    """Asks every question, watching each video once, under a progress bar."""
    source = benchmark.source()
    asked = numbers(source, benchmark.name, limit)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[right]}"),
        TimeRemainingColumn(),
    )
    seen: tuple[Any, ...] | None = None
    context = None
    right = videos = 0
    # A file or a SLURM log gets a line now and then instead of a bar.
    every = max(1, len(asked) // 4)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("questions", total=len(asked), right="")
        for count, number in enumerate(asked, 1):
            sample = source.load(number)
            same = (source.where(number)[0], sample.sample.visuals)
            fresh = context is None or same != seen
            if fresh:
                context = None  # gives the last video's memory back before the next one's is needed
                context = loaded.watch(*looks(sample))
                seen, videos = same, videos + 1
            assert context is not None
            graded, cost = answer_one(loaded, benchmark, context, sample.sample, fresh, max_new_tokens)
            right += graded.right
            state = f"{videos} videos · {100 * right / count:.1f} % right"
            progress.update(bar, advance=1, right=state)
            if not console.is_terminal and count % every == 0:
                console.print(f"question {count} of {len(asked)} · {state}", markup=False, highlight=False)
            yield graded, cost


def answer_one(
    loaded: Loaded,
    benchmark: Benchmark,
    context: Context,
    sample: Sample,
    fresh: bool,
    max_new_tokens: int,
) -> tuple[Graded, AnswerCost]:
    """Asks one question about a watched video."""
    question = sample.question
    assert question is not None
    answer = loaded.ask(context, format_question(question), max_new_tokens=max_new_tokens)
    graded = Graded(
        key=sample.key,
        kind=benchmark.kind(sample),
        question=question.question,
        options=question.options,
        answer=question.answer,
        text=answer.text,
        parsed=parse_letter(answer.text, question.options),
    )
    return graded, cost_of(context, answer, fresh)


def cost_of(context: Context, answer: Answer, fresh: bool) -> AnswerCost:
    """What one answer cost; a video's prefill counts for each of its questions, as if it were asked alone."""
    return AnswerCost(
        watch_ms=context.watch_ms if fresh else 0.0,
        prefill_ms=context.prefill_ms + answer.prefill_ms,
        new_tokens=len(answer.tokens) + answer.stopped,
        decode_ms=answer.decode_ms,
        cache_bytes=answer.cache_bytes,
        visual_tokens=context.visual_tokens,
        frames=context.frames,
    )


def looks(loaded: LoadedSample) -> list[Look]:
    """What a sample shows."""
    return [
        Look(media, visual.kind, visual.start, visual.end, visual.name)
        for visual, media in zip(loaded.sample.visuals, loaded.media, strict=True)
    ]


def keep(report: Report, evaluated: Run, values: dict[str, Any], console: Console) -> None:
    """Puts the report beside the checkpoint it is about, and into W&B where the run is there.

    Raises:
        CheckpointError: The run directory can't be written.
    """
    path = evaluated.path / "evaluate" / f"{report.benchmark}.json"
    try:
        write_json(report, path)
        write_figure(report, path.with_suffix(".png"))
    except OSError as error:
        raise CheckpointError(f"{path} can't be written: {why_not(error)}") from error
    console.print(f"written: {path} and .png", markup=False)
    if (evaluated.path / "wandb_id.txt").exists() and values.get("logger"):
        _to_wandb(report, evaluated, values)


def _to_wandb(report: Report, evaluated: Run, values: dict[str, Any]) -> None:
    """One more row in the run's W&B run, at its last step (W&B takes no earlier one)."""
    sink = build(
        rebuild(LoggerConfig, values["logger"], "logger"),
        directory=evaluated.path,
        name=evaluated.name,
        group=values.get("sweep_name"),
        settings=None,
    )
    code = 1
    try:
        sink.log(report.metrics(), evaluated.step)
        code = 0
    finally:
        sink.finish(code)
