"""`vxl wandb`: a saved view of a sweep in W&B; offline, what it would create, and how to send the runs."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.run.find import Run, find_members
from vxl.terminal.screen import Screen


def run_wandb(words: Words) -> None:
    """Creates the view, or says what it would create and writes it.

    Raises:
        ConfigError: There is no such sweep, it is not in W&B, or wandb-workspaces is not installed.
        LostError: W&B does not answer.
    """
    words.take("debug")
    root, target = words.runs(), words.take("json")
    words.refuse_rest("wandb", ("json", "paths.runs"))
    if len(words.rest) != 1:
        raise ConfigError("vxl wandb needs a sweep.\n  e.g.  vxl wandb SWEEP   (vxl runs lists them)")
    from vxl.compare import wandb_view  # late: torch takes 2 s, and --help needs none of it
    from vxl.compare.comparison import compare
    from vxl.compare.write import write

    (name,) = words.rest
    members = find_members(name, root)
    place = wandb_view.place_of(members)
    view = wandb_view.view_of(compare(members, title=name), place)
    console = Screen()
    online = wandb_view.is_online()
    address = wandb_view.save(view) if online else None
    say = console.print
    what = "created" if online else "offline: would create"
    say(f"{what} the view {view.name!r} of group {place.group} in {place.entity or 'your account'}/", end="")
    say(place.project, markup=False)
    for section, panels in wandb_view.panels_of(view):
        say(f"\n{section}", markup=False)
        for panel in panels:
            say(f"  {panel}", markup=False, soft_wrap=True)
    if address is not None:
        say(f"\nsee: {address}", markup=False, soft_wrap=True)
    if target is not None or not online:
        file = Path(target or members[0].path.parent / "wandb_view.json").expanduser()
        write(file, wandb_view.as_json(view), "json")
        say(f"\nwritten: {file}", markup=False, soft_wrap=True)
    folders = unsent(members)
    if folders:
        at = shlex.quote(str(members[0].path.parent))
        say(f"not sent yet: {len(folders)} starts of runs and evaluations; those of one run are joined:")
        say(f"  find {at} -name 'offline-run-*' -print0 | xargs -0 wandb sync", markup=False, soft_wrap=True)
    if not online:
        say(f"then:  wandb login   and   vxl wandb {name}", markup=False, soft_wrap=True)


def unsent(members: Sequence[Run]) -> list[Path]:
    """What W&B kept of the members and their evaluations offline, and has not sent; a start of a run each."""
    folders = sorted(folder for run in members for folder in run.path.rglob("wandb/offline-run-*"))
    return [folder for folder in folders if not any(folder.glob("*.synced"))]
