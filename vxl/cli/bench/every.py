"""`vxl bench all`: what each part costs, in the order in which a video flows, written as one JSON.

Video-XL-2 with random weights: at its true size on a GPU, or with size=tiny in miniature on one thread of a
CPU. Each row is warm, repeated, and waits for the GPU; on a CPU the process's own time counts, which other
work on the machine disturbs little. `vxl bench diff` says what became slower since.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from vxl.atomic import whole_file, why_not
from vxl.cli.bench.data import one_thread
from vxl.cli.bench.measurements import Measurements, Row, memory_of
from vxl.cli.bench.sizes import SIZES, size_of
from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.run.provenance import this_session
from vxl.terminal.say import say
from vxl.units import significant

if TYPE_CHECKING:  # late: rich, and --help needs none of it
    from vxl.table import Listing

PACKAGES = ("torch", "transformers", "lightning", "triton", "av", "numpy")
"""Packages whose versions stand beside the numbers."""
SETTINGS = ("size", "out")


def run_all(words: Words, *, quick: bool) -> Path:
    """Carries out the command; returns the file.

    Raises:
        ConfigError: A setting does not fit, there is no GPU, or the file can't be written.
    """
    from vxl.terminal.screen import Screen  # late: rich, and --help needs none of it

    words.take("debug")
    size = words.take("size", "published") or ""
    out = Path(words.take("out") or time.strftime("bench_%Y-%m-%dT%H-%M-%S.json")).expanduser()
    words.refuse_rest("bench all", SETTINGS)
    if words.rest:
        raise ConfigError(
            f"vxl bench all takes no {words.rest[0]!r}.\n  e.g.  vxl bench all --quick out=FILE"
        )
    if size not in SIZES:
        raise ConfigError(f"size={size} is none of {', '.join(SIZES)}.\n  on a CPU:  size=tiny")
    if out.is_dir():
        raise ConfigError(f"out={out} is a folder.\n  name a file:  out={out / 'bench.json'}")
    screen = Screen()
    with ExitStack() as stack:
        part = _opened(stack, out)  # before minutes of measuring
        found = measure_all(size, quick=quick, on_row=lambda row: say(f"measured: {row.name}", error=True))
        listing(found).show(screen)
        part.write_text(found.as_json(), encoding="utf-8")
    screen.print(f"written: {out}", markup=False, soft_wrap=True)
    return out


def _opened(stack: ExitStack, out: Path) -> Path:
    """What becomes the file when the stack ends well; one that was there stays until then.

    Raises:
        ConfigError: It can't be written.
    """
    try:
        return stack.enter_context(whole_file(out))
    except OSError as error:
        raise ConfigError(f"{out} can't be written: {why_not(error, 'out=FILE')}") from error


def listing(found: Measurements) -> "Listing":
    """What was measured, as a table; memory where it is known."""
    from rich.markup import escape  # late: rich, and --help needs none of it

    from vxl.table import Listing

    counted = any(row.peak_bytes is not None for row in found.rows)
    columns = ("row", "of", "ms", "spread, ms", "a second", *(["memory"] if counted else []))
    table = Listing(escape(found.title), columns, left=("of",))
    for row in found.rows:
        numbers = (significant(each) for each in (1000 * row.median, 1000 * row.spread, row.rate))
        memory = [memory_of(row)] if counted else []
        table.add(row.name, f"{row.work} {row.unit}", *numbers, *memory)
    return table


def measure_all(
    size: str, *, quick: bool = False, on_row: Callable[[Row], object] = lambda row: None
) -> Measurements:
    """Measures every row, on this process's device.

    Args:
        size: A key of `SIZES`.
        quick: Whether to measure less.
        on_row: Called with each row when it is there.

    Raises:
        ConfigError: The size needs a GPU, and there is none.
    """
    import torch  # late: torch takes 2 s, and --help needs none of it

    from vxl.cli.bench.parts import measured_rows

    tiny = size == "tiny"
    if not tiny and not torch.cuda.is_available():
        raise ConfigError(
            f"vxl bench all at size={size} needs a GPU, and PyTorch sees none here.\n"
            "  in miniature, on a CPU:  vxl bench all size=tiny"
        )
    device = torch.device("cpu" if tiny else "cuda")
    given = size_of(size, quick=quick)
    session = this_session([])
    code, packages = session["git"] or {}, session["packages"]
    rows: list[Row] = []
    with one_thread():
        for row in measured_rows(given, device):
            rows.append(row)
            on_row(row)
    provenance = {
        **{key: session[key] for key in ("time", "command", "hardware", "python")},
        "packages": {name: packages[name] for name in PACKAGES if name in packages},
        "commit": code.get("commit"),
        "changed": bool(code.get("diff")),
    }
    card = str(session["hardware"]["processor"]) if tiny else torch.cuda.get_device_name(device)
    return Measurements(card, size, quick, provenance, rows)
