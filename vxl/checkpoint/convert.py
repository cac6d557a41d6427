"""`vxl import` and `vxl export`: from the published layouts to vxl's own and back."""

from collections.abc import Sequence
from pathlib import Path

from vxl.atomic import refuse_existing
from vxl.checkpoint.layouts import is_vxl
from vxl.checkpoint.resolved import model_parts
from vxl.checkpoint.source import find_source
from vxl.errors import CheckpointError


def import_weights(source: Path, out: Path, part: str | None = None, overrides: Sequence[str] = ()) -> str:
    """Reads published weights and writes a vxl folder.

    Args:
        source: A published folder, or the file of one part.
        out: The folder to write; it must not exist.
        part: For a file: compressor or projector; None for what it holds.
        overrides: What config.json leaves open, and other changes to the config: `KEY=VALUE`.

    Returns:
        What was written, in words.

    Raises:
        CheckpointError: The weights are not complete, not known, or can't be read; nothing is written.
    """
    # late: torch takes 2 s, and to find a source needs none of it
    from vxl.checkpoint.published.read import from_published
    from vxl.checkpoint.stage_file import is_stage_file, open_stage_file, write_part
    from vxl.checkpoint.write import write_vxl

    refuse_existing(out)
    if part is not None or is_stage_file(source):
        stage = open_stage_file(source, part)
        write_part(stage, out)
        return (
            f"{out}: the {stage.part}, {len(stage.tensors)} tensors, {len(stage.unused)} unused\n"
            f"  start a model with it:  python train.py … init_from={out}"
        )
    if not source.exists():
        raise CheckpointError(f"{source}: no such folder.\n  expected: a folder with config.json and weights")
    if is_vxl(source):
        raise CheckpointError(f"{source} is a vxl folder already.\n  use it:  vxl ask weights={source} …")
    # late: torch takes 2 s, and to find a source needs none of it
    from vxl.checkpoint.fill import refuse_unlike, skeleton
    from vxl.checkpoint.published.family import FAMILIES

    weights = from_published(source, overrides)
    refuse_unlike(weights, skeleton(model_parts(weights.values)))
    write_vxl(weights, out)
    assert weights.record is not None
    title = FAMILIES[weights.record.family].title
    count = sum(tensor.numel for tensor in weights.tensors.values())
    lines = [
        f"{out}: {title}, {count:,} parameters in {len(weights.tensors)} tensors; "
        f"{len(weights.unused)} unused ones kept aside",
        f'  ask it:  vxl ask weights={out} VIDEO "question"',
    ]
    if weights.tokenizer is None:
        lines.append("  it came without a tokenizer: add  prompt.tokenizer=FOLDER_OR_HUB_NAME")
    return "\n".join(lines)


def export_weights(
    source: str, out: Path, published: bool = True, checkpoint: str | int = "last", runs: Path = Path("runs")
) -> None:
    """Writes weights in the published layout, or in vxl's own.

    Args:
        source: A folder of weights, or a run (its name below `runs`, or its path).
        out: The folder to write; it must not exist.
        published: Which layout.
        checkpoint: Which of a run's checkpoints.
        runs: The folder of runs.

    Raises:
        CheckpointError: The weights are not complete, or have no published layout; nothing is written.
    """
    # late: torch takes 2 s, and to find a source needs none of it
    from vxl.checkpoint.fill import refuse_unlike, skeleton
    from vxl.checkpoint.published.write import write_published
    from vxl.checkpoint.write import write_vxl

    refuse_existing(out)
    weights = find_source(Path(source).expanduser(), runs, checkpoint).weights()
    refuse_unlike(weights, skeleton(model_parts(weights.values)))
    (write_published if published else write_vxl)(weights, out)
