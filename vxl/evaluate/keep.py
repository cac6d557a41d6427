"""Where reports go: beside the checkpoint that they are about, and into W&B where the run is there."""

from pathlib import Path

from rich.console import Console

from vxl.atomic import why_not, write_text
from vxl.errors import CheckpointError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.logged import log_evaluation
from vxl.evaluate.report import Report, write_figure, write_json
from vxl.evaluate.subjects import Subject


def keep(report: Report, path: Path, benchmark: Benchmark, subject: Subject, console: Console | None) -> None:
    """Writes a report, its picture, and answers as the authors' tools read them.

    Args:
        report: What was found.
        path: `evaluate/<benchmark>.json`.
        benchmark: Knows the authors' form.
        subject: The model; a run that is in W&B gets an evaluation beside it.
        console: Says what was written; None where one line does so for many members.

    Raises:
        CheckpointError: The folder can't be written.
    """
    files = f"{path} and .png"
    try:
        write_json(report, path)
        if not benchmark.draw(report.graded, path.with_suffix(".png")):
            write_figure(report, path.with_suffix(".png"))
        submission = benchmark.submission(report.graded)
        if submission is not None:
            name, text = submission
            write_text(path.with_suffix("") / name, text)
            files += f"\nwritten: {path.with_suffix('') / name}, as the authors' tools read it"
    except OSError as error:
        raise CheckpointError(f"{path} can't be written: {why_not(error)}") from error
    if console is not None:
        console.print(f"written: {files}", markup=False, soft_wrap=True)
    run = subject.run
    is_there = run is not None and (run.path / "wandb_id.txt").exists()
    if is_there and subject.values.get("logger"):
        log_evaluation(report, path, subject)
