"""`logger=wandb`: Weights & Biases beside metrics.csv, offline without a login."""

import functools
import logging
import netrc
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from typing_extensions import override

from vxl.atomic import write_text
from vxl.errors import ConfigError
from vxl.logger.base import LoggerConfig, Sink
from vxl.logger.prediction import Prediction, strip
from vxl.option.option import option

log = logging.getLogger(__name__)

AXIS = "trainer/global_step"
"""The x axis of all numbers, by the name that Lightning's loggers give it: optimizer steps taken."""
SUMMARISED = {"val/loss": "min,last", "val/accuracy": "max,last", "loss": "min,last", "*": None}
"""What W&B's summary keeps of the numbers that are logged; None: the last one, under the number's own name.
With a word it would be `NAME.last`, as would every field of a table, which W&B then does not know as one."""
TAGGED = ("compressor", "kv", "stage")
"""Groups whose choice is a tag."""
KEPT = ("resolved.yaml", "provenance.json", "train.log")
"""Files of the run directory that W&B's run holds too, as they are in the end."""
PATIENCE = 60
"""Seconds that W&B's server has for its first answer, then the run goes on offline; and at the end of a run
for what it has not got by then: a job that is to stop must not wait for a network that is down."""


@dataclass(frozen=True, kw_only=True)
class WandbConfig(LoggerConfig):
    """Weights & Biases beside metrics.csv; offline unless logged in, so that no account is needed."""

    _target_: str = option("vxl.logger.wandb.Wandb", resumable=True)
    project: str = option("vxl", resumable=True)
    """W&B project."""
    entity: str | None = option(None, resumable=True)
    """W&B user or team; null: the account's default."""
    mode: Literal["auto", "online", "offline"] = option("auto", resumable=True)
    """auto: online if logged in (wandb login, WANDB_API_KEY), else offline. WANDB_MODE overrides it."""
    tags: list[str] = field(default_factory=list, metadata={"resumable": True})
    """Tags of the W&B run, beside the model, a size that is not its own, the sweep, the host, and what was
    chosen for compressor, kv and stage."""
    notes: str | None = option(None, resumable=True)
    """What the W&B run says about itself."""
    artifacts: Literal["none", "last", "best"] = option("none", resumable=True)
    """The checkpoint that is kept in W&B when the run is finished, as an artifact."""


class Wandb(Sink):
    """A W&B run with one id across resumes.

    Args:
        config: Project and mode.
        directory: The run directory; W&B's own files go there, too.
        name: Name of the run.
        group: Name of the sweep that the run is a member of, if any.
        settings: The config as plain values; what its groups chose becomes tags.
        job_type: train or evaluate.

    Raises:
        ConfigError: wandb is not installed.
    """

    def __init__(
        self,
        config: WandbConfig,
        *,
        directory: Path,
        name: str,
        group: str | None = None,
        settings: dict[str, Any] | None = None,
        job_type: Literal["train", "evaluate"] = "train",
    ) -> None:
        try:
            import wandb  # late: wandb, for runs that log there alone
        except ModuleNotFoundError as error:
            raise ConfigError(
                "logger=wandb needs wandb, which is not installed.\n"
                "  without it:  logger=csv\n  install it:  pip install wandb"
            ) from error
        self._config, self._directory, self._stopped = config, directory, False
        self._evaluates = job_type == "evaluate"
        mode: Any = os.environ.get("WANDB_MODE") or config.mode
        if mode == "auto":
            mode = "online" if logged_in() else "offline"
        settings_of_run: dict[str, Any] = {
            "project": config.project,
            "entity": config.entity,
            "id": run_id(directory, name),
            "name": name,
            "group": os.environ.get("WANDB_RUN_GROUP") or group,
            "job_type": job_type,
            "tags": tags_of(config.tags, group, settings or {}),
            "notes": config.notes,
            "config": settings,
            "dir": directory,
            "resume": "allow",
        }
        quiet = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=PATIENCE,
            finish_timeout=PATIENCE,
            finish_timeout_raises=True,
        )
        try:
            self._run = wandb.init(**settings_of_run, mode=mode, settings=quiet)
        except wandb.errors.Error as error:  # unreachable, a wrong key: no reason to lose days of training
            why = str(error).partition("\n")[0]
            log.warning("W&B can't be used (%s): going on offline", why)
            wandb.teardown()
            mode = "offline"
            self._run = wandb.init(**settings_of_run, mode=mode, settings=quiet)
        self._call(functools.partial(self._run.define_metric, AXIS))
        for name, kept in SUMMARISED.items():
            self._call(functools.partial(self._run.define_metric, name, summary=kept, step_metric=AXIS))
        if mode == "offline":
            log.info("W&B is offline; to send this run:  wandb sync %s/wandb/offline-run-*", directory)

    @override
    def log(self, numbers: dict[str, float], step: int) -> None:
        row = {**numbers, AXIS: step}
        # An evaluation again goes on in the same run, and W&B takes no row of a step that it has had.
        place = None if self._evaluates else step
        self._call(lambda: self._run.log(row, step=place))

    @override
    def facts(self, facts: dict[str, Any]) -> None:
        """Puts them into the run's summary."""
        self._call(lambda: self._run.summary.update(facts))

    @override
    def show(self, tables: dict[str, list[dict[str, Any]]], pictures: dict[str, Path]) -> None:
        """Logs W&B's tables and images."""
        import wandb  # late: wandb, for runs that log there alone

        @functools.cache  # questions share a video
        def image(file: Path) -> wandb.Image:
            return wandb.Image(str(file))

        def cell(value: Any) -> Any:
            return image(value) if isinstance(value, Path) else value

        found: dict[str, Any] = {name: wandb.Image(str(file)) for name, file in pictures.items()}
        for name, rows in tables.items():
            table = wandb.Table(columns=list(rows[0]))
            for row in rows:
                table.add_data(*map(cell, row.values()))
            found[name] = table
        self._call(lambda: self._run.log(found))

    @override
    def checkpoint(self, folder: Path, step: int) -> None:
        """Keeps the one that `logger.artifacts` names; its files are sent when the run is."""
        which = self._config.artifacts
        marker = folder / which
        if which == "none" or not marker.is_file():
            return
        import wandb  # late: wandb, for runs that log there alone

        chosen = folder / marker.read_text().strip()
        made = wandb.Artifact(f"{self._run.id}-{which}", type="model", metadata={"step": step})
        made.add_dir(str(chosen))
        self._call(lambda: self._run.log_artifact(made, aliases=[which, chosen.name]))

    @override
    def table(self, predictions: list[Prediction], step: int) -> None:
        """Sends a table of questions, frames and answers."""
        import wandb  # late: wandb, for runs that log there alone

        columns: list[str | int] = [
            "step",
            "key",
            "frames",
            "question",
            "answer",
            "right",
            "correct",
            "probability",
        ]
        table = wandb.Table(columns=columns)
        # Pictures by themselves, too: offline, W&B keeps those of a table outside the run's folder.
        pictures = []
        for prediction in predictions:
            picture = (
                wandb.Image(strip(prediction.frames_FCHW).numpy()) if len(prediction.frames_FCHW) else None
            )
            if picture is not None:
                verdict = "right" if prediction.correct else f"wrong, {prediction.right} is right"
                caption = f"{prediction.question} {prediction.answer} ({verdict})"
                pictures.append(wandb.Image(strip(prediction.frames_FCHW).numpy(), caption=caption))
            own = {**prediction.numbers(), "step": step, "frames": picture}
            table.add_data(*(own[str(column)] for column in columns))
        row = {"val/predictions": table, "val/frames": pictures, AXIS: step}
        self._call(lambda: self._run.log(row, step=step))

    @override
    def finish(self, exit_code: int) -> None:
        """Ends the W&B run (an unfinished one can be gone on with), with the files that say what it was."""
        for name in KEPT:
            if (self._directory / name).is_file():
                self._call(functools.partial(self._keep, name))
        self._call(lambda: self._run.finish(exit_code=exit_code))

    def _keep(self, name: str) -> None:
        """Copies a file into W&B's own folder, to be sent from there: W&B would link it, and say so."""
        copy = Path(self._run.dir) / name
        shutil.copy(self._directory / name, copy)  # provenance.json stays its owner's alone
        self._run.save(str(copy), base_path=self._run.dir, policy="now")

    def _call(self, call: Callable[[], object]) -> None:
        """Calls W&B, until it fails: its server may be out of reach, its own process killed for memory. The
        numbers are in metrics.csv, and that is no reason to lose days of training.
        """
        if self._stopped:
            return
        try:
            call()
        except Exception as error:  # of its own, of sockets, of time: whatever it meets
            self._stopped = True
            why = "no answer any more" if isinstance(error, TimeoutError) else str(error)
            log.warning(
                "W&B has stopped (%s); to send the rest:  wandb sync %s/wandb/*run-*", why, self._directory
            )


def tags_of(given: list[str], group: str | None, settings: dict[str, Any]) -> list[str]:
    """A run's tags: those that were typed, its sweep, model and host, what was chosen for some groups, and
    its size where that is not the model's own (`model=tiny` is small without `size=tiny`).

    W&B allows 64 letters a tag.
    """
    chosen = settings.get("choices", {})
    own = [group, settings.get("model"), *(f"{name}={chosen[name]}" for name in TAGGED if name in chosen)]
    own += [f"size={settings['size']}"] if settings.get("size") not in (None, "published") else []
    own += [f"host={socket.gethostname()}"]
    return list(dict.fromkeys(str(tag)[:64] for tag in [*given, *own] if tag))


def run_id(directory: Path, name: str) -> str:
    """The run's W&B id: made once and kept in the run directory, so that a resumed run goes on in it.

    The id of a run that `wandb agent` starts comes from its sweep.
    """
    file = directory / "wandb_id.txt"
    recorded_id = file.read_text(errors="replace").strip() if file.exists() else ""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", recorded_id):  # none yet, or damaged
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[-48:].strip("-")
        given = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        write_text(file, f"{given or f'{slug}-{secrets.token_hex(4)}'}\n")
    return file.read_text().strip()


def logged_in() -> bool:
    """Whether an API key is at hand, in the environment or in ~/.netrc (where `wandb login` puts it)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        keys = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return keys.authenticators(server) is not None and server in keys.hosts
