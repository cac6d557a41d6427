"""What `--help` of train.py and evaluate.py shows: the commands, the options of each group, the keys.

Hydra's own answer composes the whole config anew for each group, and takes several times as long.
"""

import shutil
import textwrap
from collections.abc import Sequence

from vxl.config.catalog import options_by_group
from vxl.config.compose import compose_yaml, config_folders
from vxl.terminal.say import fitted, typed_here

COMMANDS = """\
{train}GROUP=NAME key=value   one run; the same again resumes it
{beside}+sweep=NAME  key=a,b   a run a member; then vxl compare SWEEP
{beside}dry_run=true           what would run, without running it
{evaluate}run=NAME benchmark=clips
{explain}[GROUP=NAME]           every option and key, explained
"""


def help_text(name: str, words: Sequence[str]) -> str:
    """The commands, every group with its options in the order in which a video flows, and every key.

    Args:
        name: Config file in conf/ without its ending.
        words: Overrides; the keys are shown with the values that they have with these.
    """
    from omegaconf import OmegaConf  # late: OmegaConf, and `vxl explain` needs none of it

    width = shutil.get_terminal_size().columns
    groups = [
        textwrap.fill(
            f"{group}: {', '.join(options)}",
            width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for group, options in options_by_group(config_folders(list(words))).items()
    ]
    shown = [word for word in words if not word.lstrip("+").startswith("sweep=")]
    calls = {
        "train": typed_here("python train.py"),
        "evaluate": typed_here("python evaluate.py"),
        "explain": "vxl explain",
        "beside": "",
    }
    widest = max(map(len, calls.values())) + 1
    commands = COMMANDS.format(**{name: call.ljust(widest) for name, call in calls.items()})
    keys = OmegaConf.to_yaml(compose_yaml(name, shown))
    return "\n".join(
        [fitted(commands, width), "Options of each group:\n", *groups, "\nKeys and their values:\n", keys]
    )
