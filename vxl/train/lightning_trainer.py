"""Lightning's Trainer, made from `trainer=`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.train.launch.processes import Processes
from vxl.train.parallel.strategy import Launch
from vxl.train.trainer import TrainerConfig, accelerator_of, device_of

if TYPE_CHECKING:  # late: Lightning takes seconds, and a finished run needs none of it
    from lightning.pytorch import Callback, Trainer


def build_trainer(
    config: TrainerConfig,
    launch: Launch,
    processes: Processes,
    callbacks: "list[Callback]",
    directory: Path,
) -> "Trainer":
    """Lightning's Trainer; what vxl does itself (loggers, checkpoints, validation) is switched off.

    Args:
        config: How the run is carried out.
        launch: The strategy.
        processes: The processes, which are there already.
        callbacks: Lightning calls them in this order; at the end of a step `StepEnd` says what comes when.
        directory: The run directory.
    """
    from lightning.pytorch import Trainer  # late: Lightning takes seconds

    from vxl.train.launch.environment import StartedProcesses, precision_of

    for name in ("lightning.pytorch", "lightning.fabric"):  # what it says about itself is not about the run
        logging.getLogger(name).setLevel(logging.ERROR)
    accelerator = accelerator_of(config)
    plugins: list[Any] = [StartedProcesses(processes), precision_of(config.precision, accelerator)]
    return Trainer(
        accelerator=accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=launch.lightning(device_of(config, processes.local), config),
        max_steps=config.max_steps,
        max_epochs=-1,
        deterministic=config.deterministic,
        callbacks=callbacks,
        plugins=plugins,
        default_root_dir=directory,
        logger=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
