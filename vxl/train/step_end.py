"""What happens at the end of every optimizer step, in order: measure, validate, save, show."""

from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from vxl.train.report.meter import StepMeter
from vxl.train.report.progress import ProgressBar
from vxl.train.report.validation import Validation
from vxl.train.saving.checkpoints import Checkpoints
from vxl.train.saving.interrupt import Interrupt
from vxl.train.step.module import VideoLanguageModule


class StepEnd(Callback):
    """Hands one StepReport along: a checkpoint of step n comes after the validation of step n.

    Args:
        meter: Measures the step and logs it.
        validation: Adds the held-out metrics, when it is time.
        interrupt: Knows whether the run is to stop.
        checkpoints: Saves, when it is time.
        progress: Shows the numbers.
    """

    def __init__(
        self,
        meter: StepMeter,
        validation: Validation,
        interrupt: Interrupt,
        checkpoints: Checkpoints,
        progress: ProgressBar,
    ) -> None:
        self.meter = meter
        self.validation = validation
        self.interrupt = interrupt
        self.checkpoints = checkpoints
        self.progress = progress

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.meter.start(trainer, pl_module.device)
        if trainer.global_step == 0:  # where the run starts from
            self.meter.record(0, self.validation.validate(trainer, cast(VideoLanguageModule, pl_module)))
        self.progress.open(trainer.global_step, trainer.max_steps)
        self.meter.restart_clock()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        report = self.meter.measure(cast(Mapping[str, Any], outputs)["step"], trainer)
        if self.validation.is_due(report.step, trainer.max_steps):
            heldout = self.validation.validate(trainer, cast(VideoLanguageModule, pl_module))
            self.meter.record(report.step, heldout)
            report = report.with_heldout(heldout)
        stop = self.interrupt.agreed(trainer)
        self.checkpoints.after_step(trainer, report, stop)
        self.progress.show(report, trainer.max_steps)
        if stop:
            trainer.should_stop = True
        self.meter.restart_clock()  # which leaves out validations, checkpoints and the screen
