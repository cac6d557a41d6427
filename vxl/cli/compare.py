"""`vxl compare`: members side by side on the terminal, and as a page, JSON and CSV."""

import shlex
from pathlib import Path

from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.run.find import find_members
from vxl.terminal.screen import Screen

SETTINGS = ("html", "json", "csv", "base", "paths.runs")


def run_compare(words: Words) -> None:
    """Compares what the words name.

    Raises:
        ConfigError: There is no such run, or a file can't be written.
    """
    command = shlex.join(["vxl", "compare", *words.rest, *(f"{k}={v}" for k, v in words.settings.items())])
    words.take("debug")
    root, base = words.runs(), words.take("base")
    targets = {kind: words.take(kind) for kind in ("html", "json", "csv")}
    words.refuse_rest("compare", SETTINGS)
    if not words.rest:
        raise ConfigError(
            "vxl compare needs a sweep or runs.\n  e.g.  vxl compare SWEEP   (vxl runs lists them)"
        )
    from vxl.compare.comparison import compare  # late: numpy takes a while, and --help needs none
    from vxl.compare.terminal import show_comparison
    from vxl.compare.write import as_csv, as_json, write

    members = list({run.name: run for name in words.rest for run in find_members(name, root)}.values())
    comparison = compare(members, title=" ".join(words.rest), base=base)
    console = Screen()
    show_comparison(comparison, console)
    for kind, target in targets.items():
        if target is None:
            continue
        place = Path(target).expanduser()
        if kind == "html":
            from vxl.compare.page.page import render  # late: jinja2, for html= alone

            text = render(comparison, place, command)
        else:
            text = as_json(comparison) if kind == "json" else as_csv(comparison)
        write(place, text, kind)
        console.print(f"written: {place}", markup=False, soft_wrap=True)
