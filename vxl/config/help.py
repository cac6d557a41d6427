"""What `--help` of train.py and evaluate.py shows: the commands, the options of each group, the keys.

Hydra's own answer composes the whole config anew for each group, and takes several times as long.
"""

import shutil
import textwrap
from collections.abc import Sequence

from vxl.config.catalog import options_by_group
from vxl.config.compose import compose_yaml, config_folders

COMMANDS = """\
python train.py    GROUP=NAME key=value   one run; the same command again resumes it
                   +sweep=NAME  key=a,b   one run a member, then: vxl compare SWEEP
                   dry_run=true           what would run, without running it
python evaluate.py run=NAME benchmark=clips
vxl explain [GROUP=NAME]                  every option and key with its type and meaning
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
    keys = OmegaConf.to_yaml(compose_yaml(name, shown))
    return "\n".join([COMMANDS, "Options of each group:\n", *groups, "\nKeys and their values:\n", keys])
