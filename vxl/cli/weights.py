"""`vxl import` and `vxl export`: published weights to vxl's folders and back."""

import argparse
from pathlib import Path

from vxl.checkpoint.convert import export_weights, import_weights
from vxl.cli.words import sort_words
from vxl.errors import ConfigError
from vxl.option.plugins import load_plugins
from vxl.terminal.say import say

LAYOUTS = ("published", "transformers", "vxl")
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
  vxl export NAME OUT layout=transformers        for AutoModelForCausalLM.from_pretrained, without vxl
  vxl export NAME OUT layout=transformers kv=snapkv kv.keep=0.25 video.max_frames=64
"""


def register_import(commands: argparse._SubParsersAction) -> None:
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


def register_export(commands: argparse._SubParsersAction) -> None:
    """Adds `vxl export`."""
    exporter = commands.add_parser(
        "export",
        help="write weights in the published layout, in that of transformers, or in vxl's own",
        description="Write a folder of weights, or a run's: as published, for transformers, or as vxl's own.",
        epilog=EXPORT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    exporter.add_argument(
        "words", nargs="+", metavar="PATH|RUN OUT [KEY=VALUE ...]", help="what, and where to"
    )
    exporter.add_argument("--layout", choices=LAYOUTS, help="published unless said otherwise")
    exporter.set_defaults(run=run_export)


def run_import(parsed: argparse.Namespace) -> None:
    """`vxl import`."""
    words = sort_words(parsed.words)
    words.take("debug")
    part = words.take("part", parsed.part)
    if not 1 <= len(words.rest) <= 2:
        raise ConfigError(f"vxl import takes PATH and OUT, got {len(words.rest)} words.\n{IMPORT}")
    source = Path(words.rest[0]).expanduser()
    full = source.resolve()
    name = full.name if full.is_dir() else full.stem  # Video-XL-2.5 has no ending
    out = Path(words.rest[1]).expanduser() if len(words.rest) > 1 else Path(f"{name}-vxl")
    overrides = [f"{key}={value}" for key, value in words.settings.items()]
    say(import_weights(source, out, part, overrides))


def run_export(parsed: argparse.Namespace) -> None:
    """`vxl export`."""
    words = sort_words(parsed.words)
    words.take("debug")
    layout = words.take("layout", parsed.layout) or "published"
    checkpoint = words.take("checkpoint") or "last"
    runs = words.runs()
    if (plugins := words.take("plugins")) is not None:
        load_plugins([name for name in plugins.strip("[]").split(",") if name])
    if layout not in LAYOUTS:
        raise ConfigError(f"layout={layout} is none.\n  allowed: {', '.join(LAYOUTS)}")
    overrides = [f"{key}={value}" for key, value in words.settings.items()]
    if layout != "transformers":
        words.refuse_rest("export", ("layout", "checkpoint", "paths.runs", "plugins"))
    if len(words.rest) != 2:
        raise ConfigError(f"vxl export takes PATH and OUT, got {len(words.rest)} words.\n{EXPORT}")
    out = Path(words.rest[1]).expanduser()
    if layout == "transformers":
        from vxl.export.write import export_transformers  # late: torch takes 2 s, and --help needs none of it

        export_transformers(words.rest[0], out, checkpoint, runs, overrides)
    else:
        export_weights(words.rest[0], out, layout == "published", checkpoint, runs)
    say(f"{out}: the {layout} layout of {words.rest[0]}")
