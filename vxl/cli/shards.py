"""`vxl shards`: write, index, lint and describe shards. Heavy imports happen inside the commands."""

import argparse
import json
import math
from pathlib import Path

from vxl.data.source.urls import expand_urls
from vxl.errors import ConfigError, DataError, one_line
from vxl.terminal.say import say

CACHE = ".cache/vxl"

EPILOG = """\
for example:
  vxl shards write shards/train --folder clips/          KEY.mp4 + KEY.json (or KEY.txt, a caption)
  vxl shards write shards/train --json train.json --videos clips/
  vxl shards index 'shards/train-{000000..000099}.tar'   as training does by itself the first time
  vxl shards lint shards/train --decode                  everything that is wrong, a line each
  vxl shards stats train.json --videos clips/
"""


def register_shards(commands: argparse._SubParsersAction) -> None:
    """Adds `vxl shards write|index|lint|stats`."""
    shards = commands.add_parser(
        "shards",
        help="write, index, check and describe shards",
        description="Write, index, check and describe shards: tars of KEY.mp4 (.webm .jpg ...) and KEY.json.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = shards.add_subparsers(dest="action", required=True, metavar="ACTION")

    write = actions.add_parser("write", help="write shards from a folder, or from a JSON list")
    write.add_argument("out", type=Path, help="folder of the shards; made if it is not there")
    origin = write.add_mutually_exclusive_group(required=True)
    origin.add_argument("--folder", type=Path, help="folder with KEY.mp4 and KEY.json, also below it")
    origin.add_argument("--json", type=Path, help="JSON list in the family's format (or JSON lines, .jsonl)")
    write.add_argument("--videos", type=Path, help="where the paths of the JSON list start (its own folder)")
    write.add_argument("--pattern", default="shard-{:06d}.tar", help="names of the shards (%(default)s)")
    write.add_argument("--max-mb", type=float, default=1024, help="largest size of a shard (%(default)s)")
    write.add_argument("--overwrite", action="store_true", help="replace shards of that pattern")
    write.add_argument("--skip-bad", action="store_true", help="leave out bad samples instead of stopping")
    write.set_defaults(run=run_write)

    index = actions.add_parser("index", help="write the index of each shard")
    index.add_argument("--again", action="store_true", help="even where there is one that fits")
    index.add_argument(
        "--keep-good", action="store_true", help="use the whole members of shards that are cut off"
    )
    index.set_defaults(run=run_index)

    lint = actions.add_parser("lint", help="everything that is wrong, a line each")
    lint.add_argument("--decode", action="store_true", help="also decode all frames and images")
    lint.set_defaults(run=run_lint)

    stats = actions.add_parser("stats", help="what the shards hold")
    stats.add_argument("--as-json", action="store_true", help="for programs")
    stats.set_defaults(run=run_stats)

    for action in (index, lint, stats):
        action.add_argument(
            "urls", nargs="+", metavar="SHARDS", help="files, folders, wildcards, braces or URLs"
        )
    for action in (lint, stats):
        action.add_argument(
            "--videos", type=Path, help="where the paths of a JSON list start (its own folder)"
        )
    for action in (write, index, lint, stats):
        action.add_argument(
            "--cache", type=Path, default=Path(CACHE), help="for what can't be written beside (%(default)s)"
        )


def run_write(parsed: argparse.Namespace) -> None:
    """`vxl shards write`."""
    from vxl.data.source.source import IndexedShards  # late: PyAV and Pillow, and --help needs none of them
    from vxl.data.write.lint import wrong_members
    from vxl.data.write.shards import ShardWriter, members_of_folder, members_of_json

    if not 0.0 < parsed.max_mb < math.inf:
        raise ConfigError(f"--max-mb {parsed.max_mb}: a shard has no such size.\n  e.g.  --max-mb 1024")
    if parsed.folder:
        members = list(members_of_folder(parsed.folder))
    else:
        members = list(members_of_json(parsed.json, parsed.videos or parsed.json.parent))
    with ShardWriter(
        parsed.out, parsed.pattern, int(parsed.max_mb * 1e6), overwrite=parsed.overwrite
    ) as writer:
        wrong = wrong_members(members, str(parsed.folder or parsed.json))
        for reason in wrong.values():
            say(one_line(reason), error=True)
        if wrong and (not parsed.skip_bad or len(wrong) == len(members)):
            raise DataError(
                f"{len(wrong)} of {len(members)} samples are bad (above); nothing was written.\n"
                "  mend them, or leave them out:  --skip-bad"
            )
        for number, member in enumerate(members):
            if number not in wrong:
                writer.write(member.key, member.files)
    source = IndexedShards([str(path) for path in writer.written], cache=parsed.cache)
    left_out = f", {len(wrong)} members left out" if wrong else ""
    shards = f"{len(writer.written)} shard{'s' if len(writer.written) > 1 else ''}"
    say(f"{len(source)} samples in {shards} in {parsed.out}{left_out}")


def run_index(parsed: argparse.Namespace) -> None:
    """`vxl shards index`."""
    # late: PyAV and Pillow, and --help needs none of them
    from vxl.data.source.index import open_index, write_index

    failures = []
    for url in expand_urls(parsed.urls):
        try:
            if parsed.again or parsed.keep_good:
                index = write_index(url, parsed.cache, keep_good=parsed.keep_good)
            else:
                index = open_index(url, parsed.cache)
        except DataError as error:
            failures.append(str(error))
            continue
        bad = f", {len(index.bad)} bad (vxl shards lint)" if index.bad else ""
        cut = f", cut off at byte {index.cut_at}" if index.cut_at is not None else ""
        say(f"{url}: {len(index)} samples{bad}{cut}")
    if failures:
        raise DataError("\n\n".join(failures))


def run_lint(parsed: argparse.Namespace) -> None:
    """`vxl shards lint`: prints what is wrong; exits with status 2 if anything is."""
    from vxl.data.write.lint import lint  # late: PyAV and Pillow, and --help needs none of them

    count = 0
    for line in lint(parsed.urls, parsed.cache, videos=parsed.videos, decode=parsed.decode):
        count += 1
        say(line)
    if count:
        raise DataError(f"{count} problem{'s' if count > 1 else ''} (above).")
    say("nothing is wrong")


def run_stats(parsed: argparse.Namespace) -> None:
    """`vxl shards stats`."""
    from vxl.data.write.lint import stats  # late: PyAV and Pillow, and --help needs none of them

    numbers = stats(parsed.urls, parsed.cache, videos=parsed.videos)
    if parsed.as_json:
        say(json.dumps(numbers))
        return
    for name, value in numbers.items():
        if isinstance(value, dict):
            value = "   ".join(f"{key} {item:,}" for key, item in value.items()) or "-"
        say(f"{name:10} {value:,}" if isinstance(value, int) else f"{name:10} {value}")
