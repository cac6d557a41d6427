"""The run directory: whether a run is new, resumes, or is finished; a folder with a stable name.

runs/<name>/
  config.yaml         as composed
  resolved.yaml       as it runs
  provenance.json     code, packages, hardware and command of every start
  checkpoints/        step-000123/ …, and the small files `last` and `best`
  metrics.csv         a row for every logged step
  wandb_id.txt        the W&B run
  train.log           what was said
  RESULT.json         written last
  FAILED.json         why there is no result, until the run is started again
  .lock               who is at work
"""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from vxl.atomic import remove_leftovers, why_not, write_text
from vxl.errors import CheckpointError, ConfigError
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import plain
from vxl.run import provenance
from vxl.run.changes import ConfigChange, differences
from vxl.run.config import RunConfig
from vxl.run.failure import clear_failure, write_failure
from vxl.run.find import Run
from vxl.run.lock import Lock, is_held
from vxl.run.name import run_name

# What a folder may hold before a run was begun in it: leftovers of a start that was killed, of a preview, or
# of a submission.
_NOTHING_YET = {
    *(".lock", ".lock.held", "config.yaml", "resolved.yaml", "FAILED.json", "train.log", "slurm", "local"),
    "checkpoints",
}
# Says that a removal has begun, and so that what is left of the run is not worth keeping.
_REMOVING = ".removing"
# What `on_existing=overwrite` removes; anything else in the folder is not ours.
_OURS = [
    "config.yaml",
    "resolved.yaml",
    "provenance.json",
    "checkpoints",
    "metrics.csv",
    "wandb_id.txt",
    "wandb",
    "train.log",
    "RESULT.json",
    "FAILED.json",
    "tokenizer",
    "evaluate",
    "predictions",
    "profile",
    "diverged",
]


def write_resolved(directory: Path, values: dict[str, Any]) -> None:
    """Writes `resolved.yaml`, from which the run's model can be built; a run that exists keeps its own."""
    if (directory / provenance.FILE).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "resolved.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def status_of(config: RunConfig) -> Literal["new", "resume", "finished", "running"]:
    """What there is to do for a config's run, without opening its directory.

    Raises:
        ConfigError: Its run has another config, and is not to be overwritten.
    """
    path = Path(config.paths.runs) / run_name(config)
    if is_held(path / ".lock"):
        return "running"
    if not _exists(path) or _failed_at_once(path):
        return "new"
    if config.on_existing == "overwrite":
        return "resume"
    return _status(path, _differences(path, config))


@dataclass
class RunDirectory:
    """An opened run directory; use as a context manager, or `close` it, to give its lock back."""

    path: Path
    status: Literal["new", "resume", "finished"]
    lock: Lock
    changes: list[ConfigChange] = dataclasses.field(default_factory=list)
    """Resumable keys that have another value than in the run's last start."""

    @classmethod
    def open(cls, config: RunConfig, composed: str) -> "RunDirectory":
        """Opens the directory of a config's run and says what is to be done in it.

        Args:
            config: The checked config.
            composed: The composed YAML, as the user's choices made it.

        Raises:
            ConfigError: Another process is at work in it, it can't be written, it is no run's, or its run has
                another config (the message lists every key that differs).
        """
        path = Path(config.paths.runs) / run_name(config)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = Lock(path / ".lock")
            lock.acquire()
        except OSError as error:
            raise ConfigError(f"the run directory {path} can't be written: {why_not(error)}") from error
        try:
            return cls._opened(path, lock, config, composed)
        except OSError as error:
            lock.release()
            raise ConfigError(f"the run directory {path} can't be written: {why_not(error)}") from error
        except BaseException:  # Ctrl-C, too, must not leave the lock behind
            lock.release()
            raise

    @classmethod
    def _opened(cls, path: Path, lock: Lock, config: RunConfig, composed: str) -> "RunDirectory":
        remove_leftovers(path)
        exists = _exists(path)
        if (path / _REMOVING).exists():  # killed while it was being removed: go on with that
            _remove(path)
            exists = False
        if not exists and (foreign := {entry.name for entry in path.iterdir()} - _NOTHING_YET):
            raise ConfigError(
                f"{path} is no run directory: it holds {', '.join(sorted(foreign)[:5])}.\n"
                f"  choose another name:  name=NAME"
            )
        if exists and config.on_existing == "fail":
            raise ConfigError(
                f"the run {path} exists.\n  go on with it:    on_existing=resume\n"
                f"  start it anew:    on_existing=overwrite  (removes it)\n  another name:     name=NAME"
            )
        if exists and (config.on_existing == "overwrite" or _failed_at_once(path)):
            _remove(path)
            exists = False
        directory = cls(path, "new", lock)
        if not exists:
            clear_failure(path)
            (path / "checkpoints").mkdir(exist_ok=True)
            write_text(path / "config.yaml", composed)
            write_resolved(path, plain(config))
            provenance.record(path, [])
            return directory
        directory.changes = _differences(path, config)
        clear_failure(path)
        directory.status = _status(path, directory.changes)
        if directory.status == "resume":
            directory.result.unlink(missing_ok=True)
            if directory.changes:
                _write_changed(path, config)
            changed = [{"key": d.key, "old": d.old, "new": d.new} for d in directory.changes]
            provenance.record(path, changed)
        return directory

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoint folders."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The file of all logged numbers."""
        return self.path / "metrics.csv"

    @property
    def result(self) -> Path:
        """The file that says that the run is finished."""
        return self.path / "RESULT.json"

    @property
    def log(self) -> Path:
        """What was said while it ran."""
        return self.path / "train.log"

    def refuse_removed(self) -> None:
        """Raises CheckpointError where the directory was removed or moved while it was written to."""
        if not self.lock.stands:
            raise CheckpointError(
                f"{self.path} was removed or moved while its run was at work: its config, and its numbers "
                f"up to then, are gone.\n  what was written since, checkpoints too, is still there\n"
                f"  train anew:  rm -r {self.path}   and the same command again"
            )

    def close(self) -> None:
        """Gives the lock back."""
        self.lock.release()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):  # an interrupted run (SystemExit) has not failed
            write_failure(self.path, error)
        self.close()


def _exists(path: Path) -> bool:
    """Whether a run was begun here; provenance.json is written last, before its first step."""
    return (path / provenance.FILE).exists() or any((path / "checkpoints").glob("step-*"))


def _failed_at_once(path: Path) -> bool:
    """Whether a run failed before its first step: there is nothing to go on with, whatever its config was."""
    run = Run(path.name, path)
    return run.failure is not None and run.step == 0


def _differences(path: Path, config: RunConfig) -> list[ConfigChange]:
    """The keys in which a config differs from that of its run, if the run may go on all the same."""
    file = path / "resolved.yaml"
    why = "it is missing"
    try:
        recorded = read_yaml(file.read_text()) if file.exists() else None
        if isinstance(recorded, dict):
            return _allowed(path, differences(recorded, config))
        why = "it holds no config" if file.exists() else why
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())[:200]
    sessions = provenance.read_sessions(path)
    command = f"  the run was begun by:   {sessions[0].get('command')}\n" if sessions else ""
    raise ConfigError(
        f"{file} can't be read: {why}.\n  it says what the run trains; restore it from a backup\n{command}"
        f"  a run of its own:       name=NAME\n  start this one anew:    on_existing=overwrite  (removes it)"
    )


def _status(path: Path, changes: list[ConfigChange]) -> Literal["resume", "finished"]:
    longer = any(change.key == "trainer.max_steps" for change in changes)
    return "finished" if Run(path.name, path).result is not None and not longer else "resume"


def _allowed(path: Path, changed: list[ConfigChange]) -> list[ConfigChange]:
    """The differences, if all of them are resumable."""
    refused = [difference for difference in changed if not difference.resumable]
    if refused:
        width = max(len(difference.key) for difference in refused)
        lines = [f"the run {path} has another config:"]
        for difference in refused:
            reason = f"  ({difference.reason})" if difference.reason else ""
            lines.append(f"  {difference.key:<{width}}  {difference.old} -> {difference.new}{reason}")
        lines += [
            "  go on with it:          give these keys their first values",
            "  a run of its own:       name=NAME",
            "  start this one anew:    on_existing=overwrite  (removes it)",
            f"  start from its weights: init_from={path} name=NAME",
        ]
        raise ConfigError("\n".join(lines))
    return changed


def _write_changed(path: Path, config: RunConfig) -> None:
    """Keeps `resolved.yaml` what runs: the old values of resumable keys stand in provenance.json."""
    text = yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)
    write_text(path / "resolved.yaml", text)


def _remove(path: Path) -> None:
    """Removes a run's files; a kill on the way leaves a mark to go on from."""
    (path / _REMOVING).touch()
    for name in _OURS:
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    (path / _REMOVING).unlink()
