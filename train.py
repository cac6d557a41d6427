"""Train a model: `python train.py model=videoxl2 size=tiny`, or a sweep of it: `… +sweep=compression`.

What happens, in order, is `vxl.train.run.train_or_resume`; every option is listed by `vxl explain`.
"""

from vxl.terminal.at_start import end_at_interrupts, name_absent_packages

if __name__ == "__main__":
    name_absent_packages()
    end_at_interrupts()  # the imports below take a moment, in which Ctrl-C would print a traceback

from typing import TYPE_CHECKING

from vxl.config.command import command_line
from vxl.imported import imported_for_good

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from vxl.train.config import TrainConfig


@command_line("train")
def main(config: "TrainConfig", composed: str) -> None:
    """Previews, replays, or runs (or resumes) one training."""
    if config.dry_run:
        with imported_for_good():
            from vxl.train.preview import preview  # late: torch takes 2 s, and --help needs none of it

        preview(config)
    elif config.debug.replay:
        from vxl.terminal.screen import Screen  # late: torch takes 2 s, and --help needs none of it
        from vxl.train.debug.replay import replay

        replay(config, Screen())
    else:
        with imported_for_good():
            from vxl.train.run import train_or_resume  # late: torch takes 2 s, and --help needs none of it

        train_or_resume(config, composed)


if __name__ == "__main__":
    main()
