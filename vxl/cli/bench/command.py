"""The arguments of `vxl bench data`, `vxl bench all` and `vxl bench diff`."""

import argparse
import sys
from pathlib import Path

from vxl.cli.bench import data
from vxl.cli.bench.every import run_all
from vxl.cli.words import sort_words

_ALL = """\
What each part costs, in the order in which a video flows: decoding, tower and compressor, prefill in chunks,
a first question, its answer, a training step. One JSON, with the seconds of every repeat.

  vxl bench all                       Video-XL-2 at its true size, random weights; needs a GPU
  vxl bench all --quick out=new.json  fewer frames and repeats
  vxl bench all size=tiny             in miniature, on one thread of a CPU

settings: size=published|tiny, out=FILE (bench_TIME.json)
"""
_DIFF = """\
What became slower between two files of vxl bench all.

  vxl bench diff old.json new.json
  vxl bench diff old.json new.json floor=5

A row is slower if its median rose by more than its noise: three times the spread of the repeats of both files
together, and at least floor= per cent of the old time (3; with size=tiny 50, as a processor is rarely alone).
Exit status: 0 nothing is slower, 1 something is, 2 your mistake, such as files of different cards or sizes.
"""


def register_bench(commands: argparse._SubParsersAction) -> None:
    """Adds `vxl bench` with its kinds."""
    bench = commands.add_parser(
        "bench", help="measure speed", description="Measure speed, and say what became slower."
    )
    kinds = bench.add_subparsers(dest="kind", required=True, metavar="KIND")
    raw = argparse.RawDescriptionHelpFormatter
    all_parts = kinds.add_parser("all", help="every part, as one JSON", description=_ALL, formatter_class=raw)
    all_parts.add_argument("--quick", action="store_true", help="fewer frames and repeats")
    all_parts.add_argument("words", nargs="*", metavar="key=value", help="settings")
    all_parts.set_defaults(run=_all)
    diff = kinds.add_parser(
        "diff", help="what became slower between two of them", description=_DIFF, formatter_class=raw
    )
    diff.add_argument("words", nargs="*", metavar="FILE", help="the older file, the newer, and settings")
    diff.set_defaults(run=_diff)
    data_side = kinds.add_parser("data", help="the data side against PyAV", description=data.__doc__)
    data_side.add_argument(
        "--cache", type=Path, default=Path(".cache/vxl/bench"), help="for the files it makes (%(default)s)"
    )
    data_side.add_argument(
        "--repeats", type=int, default=5, help="measurements of each side, in turns (%(default)s)"
    )
    data_side.add_argument(
        "--only", choices=data.SECTIONS, action="append", help="a part of it; may be given again"
    )
    data_side.add_argument("--as-json", type=Path, metavar="FILE", help="also write the numbers there")
    data_side.set_defaults(run=data.run_data)


def _all(parsed: argparse.Namespace) -> None:
    run_all(sort_words(parsed.words), quick=parsed.quick)


def _diff(parsed: argparse.Namespace) -> None:
    from vxl.cli.bench.diff import run_diff  # late: rich, and --help needs none of it

    status = run_diff(sort_words(parsed.words))
    if status:
        sys.exit(status)
