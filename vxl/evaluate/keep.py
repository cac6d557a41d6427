"""Where reports go: beside the checkpoint that they are about, and into W&B where the run is there."""

from pathlib import Path

from rich.console import Console

from vxl.atomic import why_not, write_text
from vxl.errors import CheckpointError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.report import Report, write_figure, write_json
from vxl.evaluate.subjects import Subject
from vxl.option.build import build
from vxl.option.rebuild import rebuild
from vxl.train.report.logger import LoggerConfig


def keep(report: Report, path: Path, benchmark: Benchmark, subject: Subject, console: Console) -> None:
    """Writes a report, its picture, and answers as the authors' tools read them.

    Args:
        report: What was found.
        path: `evaluate/<benchmark>.json`.
        benchmark: Knows the authors' form.
        subject: The model; a run that is in W&B gets a row there.
        console: Says what was written.

    Raises:
        CheckpointError: The folder can't be written.
    """
    written = f"{path} and .png"
    try:
        write_json(report, path)
        if not benchmark.draw(report.graded, path.with_suffix(".png")):
            write_figure(report, path.with_suffix(".png"))
        submission = benchmark.submission(report.graded)
        if submission is not None:
            name, text = submission
            write_text(path.with_suffix("") / name, text)
            written += f"\nwritten: {path.with_suffix('') / name}, as the authors' tools read it"
    except OSError as error:
        raise CheckpointError(f"{path} can't be written: {why_not(error)}") from error
    console.print(f"written: {written}", markup=False)
    run = subject.run
    is_there = run is not None and (run.path / "wandb_id.txt").exists()
    if is_there and not report.member and subject.values.get("logger"):
        _to_wandb(report, subject)


def _to_wandb(report: Report, subject: Subject) -> None:
    """One more row in the run's W&B run, at its last step (W&B takes no earlier one)."""
    assert subject.run is not None
    sink = build(
        rebuild(LoggerConfig, subject.values["logger"], "logger"),
        directory=subject.run.path,
        name=subject.run.name,
        group=subject.values.get("sweep_name"),
        settings=None,
    )
    code = 1
    try:
        sink.log(report.logged(), subject.run.step)
        sink.facts({f"evaluate/{report.benchmark}/protocol": report.protocol.short})
        code = 0
    finally:
        sink.finish(code)
