"""Train a model: `python train.py model=videoxl2 size=tiny`, or a sweep of it: `… +sweep=compression`.

What happens, in order, is `vxl.train.run.train_or_resume`; every option is listed by `vxl explain`.
"""

from typing import TYPE_CHECKING

from vxl.config.command import command_line

if TYPE_CHECKING:  # the schemas import torch, and --help should not wait for it
    from vxl.train.config import TrainConfig


@command_line("train")
def main(config: "TrainConfig", composed: str) -> None:
    """Previews, replays, or runs (or resumes) one training."""
    if config.dry_run:
        from vxl.train.preview import preview

        preview(config)
    elif config.debug.replay:
        from vxl.terminal.screen import Screen
        from vxl.train.debug.replay import replay

        replay(config, Screen())
    else:
        from vxl.train.run import train_or_resume

        train_or_resume(config, composed)


if __name__ == "__main__":
    main()
