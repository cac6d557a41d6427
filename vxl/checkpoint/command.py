"""`vxl import` and `vxl export`: published weights to vxl's folders and back."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vxl.errors import CheckpointError, ConfigError

IMPORT = """\
for example:
  vxl import ~/Video-XL-2                        writes ./Video-XL-2-vxl
  vxl import ~/Video-XL-2 weights/videoxl2
  vxl import FOLDER OUT vision.heads=8           what config.json leaves open
  vxl import dts.pth weights/dts --part compressor
"""
EXPORT = """\
for example:
  vxl export weights/videoxl2 OUT                the files that were published, bit by bit
  vxl export runs/NAME OUT --layout vxl          a trained model without its run
  vxl export NAME OUT checkpoint=best
"""


def register_import(commands: "argparse._SubParsersAction") -> None:
    """Adds `vxl import`."""
    importer = commands.add_parser(
        "import",
        help="read published weights",
        description="Read published weights of Video-XL, Video-XL-Pro or Video-XL-2, and write a vxl folder.",
        epilog=IMPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    importer.add_argument("words", nargs="+", metavar="PATH [OUT] [KEY=VALUE ...]", help="what, and where to")
    importer.add_argument("--part", help="PATH is a file of one part: compressor (dts.pth) or projector")
    importer.set_defaults(run=run_import)


def register_export(commands: "argparse._SubParsersAction") -> None:
    """Adds `vxl export`."""
    exporter = commands.add_parser(
        "export",
        help="write weights in the published layout, or in vxl's own",
        description="Write a folder of weights, or a run's, in the published layout or in vxl's own.",
        epilog=EXPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    exporter.add_argument(
        "words", nargs="+", metavar="PATH|RUN OUT [KEY=VALUE ...]", help="what, and where to"
    )
    exporter.add_argument("--layout", choices=("published", "vxl"), help="published unless said otherwise")
    exporter.set_defaults(run=run_export)


def run_import(parsed: argparse.Namespace) -> None:
    """`vxl import`."""
    from vxl.cli import sort_words

    words = sort_words(parsed.words)
    words.take("debug")
    part = words.take("part", parsed.part)
    if not 1 <= len(words.rest) <= 2:
        raise ConfigError(f"vxl import takes PATH and OUT, got {len(words.rest)} words.\n{IMPORT}")
    source = Path(words.rest[0]).expanduser()
    out = Path(words.rest[1]).expanduser() if len(words.rest) > 1 else Path(f"{source.resolve().stem}-vxl")
    overrides = [f"{key}={value}" for key, value in words.settings.items()]
    print(import_weights(source, out, part, overrides))


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
    from vxl.checkpoint.source import from_published, is_vxl
    from vxl.checkpoint.stage_file import is_stage_file, open_stage_file, write_part
    from vxl.checkpoint.write import refuse_existing, write_vxl

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
    from vxl.checkpoint.family import FAMILIES
    from vxl.checkpoint.fill import compare, skeleton
    from vxl.checkpoint.resolved import model_parts

    weights = from_published(source, overrides)
    compare(weights, skeleton(model_parts(weights.values)))
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


def run_export(parsed: argparse.Namespace) -> None:
    """`vxl export`."""
    from vxl.cli import sort_words

    words = sort_words(parsed.words)
    words.take("debug")
    layout = words.take("layout", parsed.layout) or "published"
    checkpoint = words.take("checkpoint") or "last"
    runs = words.runs()
    words.refuse_rest("export", ("layout", "checkpoint", "paths.runs"))
    if len(words.rest) != 2:
        raise ConfigError(f"vxl export takes PATH and OUT, got {len(words.rest)} words.\n{EXPORT}")
    if layout not in ("published", "vxl"):
        raise ConfigError(f"layout={layout} is none.\n  allowed: published, vxl")
    out = Path(words.rest[1]).expanduser()
    export_weights(words.rest[0], out, layout == "published", checkpoint, runs)
    print(f"{out}: the {layout} layout of {words.rest[0]}")


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
    from vxl.checkpoint.fill import compare, skeleton
    from vxl.checkpoint.find import find, weights_of
    from vxl.checkpoint.resolved import model_parts
    from vxl.checkpoint.source import is_weights, open_weights
    from vxl.checkpoint.trained import open_run
    from vxl.checkpoint.write import refuse_existing, write_published, write_vxl

    refuse_existing(out)
    place = find(Path(source).expanduser(), runs)
    weights = open_weights(place) if is_weights(place) else open_run(*weights_of(place, checkpoint))
    compare(weights, skeleton(model_parts(weights.values)))
    (write_published if published else write_vxl)(weights, out)
