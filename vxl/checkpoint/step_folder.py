"""Checkpoint folders of a run: whole or not there (atomic), never overwritten, on disk before they are named.

    checkpoints/
      step-000123/    the model's and optimizer's tensors (torch.distributed.checkpoint), the same whatever
                      strategy wrote them: `model.<name>`, `optim.<name>.<state>`; `rest.pt`, everything else;
                      `sums.json`, what each file must be
      last, best      the name of one folder each, replaced atomically
      .….part         what is being written or removed (vxl/atomic.py); of no worth after a kill

Torch is imported where tensors are touched: to find a checkpoint takes none of it.
"""

import logging
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vxl.atomic import remove_folder, sync, whole_folder, why_not, write_text
from vxl.errors import CheckpointError
from vxl.patience import is_file

if TYPE_CHECKING:  # late: torch takes 2 s, and to find a source needs none of it
    from torch import Tensor

    from vxl.weights.stored import Stored

log = logging.getLogger(__name__)

T = TypeVar("T")

MODEL = "model."
"""What the names of the model's tensors begin with."""
STEP = re.compile(r"step-(\d+)")
"""The name of a checkpoint."""
DAMAGED = "damaged"
"""What the names of damaged ones begin with."""


@dataclass(frozen=True, order=True)
class StepFolder:
    """One checkpoint: `runs/NAME/checkpoints/step-000123`."""

    path: Path

    @classmethod
    def at(cls, checkpoints: Path, step: int) -> "StepFolder":
        """The checkpoint after `step` optimizer steps, there or not, in a run's folder of checkpoints."""
        return cls(checkpoints / f"step-{step:06d}")

    @property
    def step(self) -> int:
        """The optimizer step after which it was written.

        Raises:
            CheckpointError: Its name is not that of a checkpoint.
        """
        match = STEP.fullmatch(self.path.name)
        if match is None:
            raise CheckpointError(
                f"{self.path} is not a checkpoint folder.\n  expected a name like step-000123"
            )
        return int(match[1])

    @property
    def run(self) -> Path:
        """The run's directory."""
        return self.path.parents[1]

    @property
    def is_complete(self) -> bool:
        """Whether it was written to its end."""
        return is_file(self.path / ".metadata")

    def write(self, tensors: dict[str, Any], rest: dict[str, Any], peers: Any = None) -> None:
        """Writes it; one that is there already stays as it is.

        Args:
            tensors: Nested dict of tensors; of sharded ones each rank writes its part.
            rest: Everything else, loadable with `weights_only=True`; the first rank's counts.
            peers: The process group that writes together; None: this process alone.

        Raises:
            CheckpointError: It can't be written (disk full, read-only); earlier checkpoints are untouched.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.step_tensors import write_rest, write_tensors
        from vxl.distributed import once

        whole = ExitStack()

        def first(function: Callable[[], T]) -> T:
            return function() if peers is None else once(function, peers)

        def begin() -> Path | None:
            if self.path.exists():
                log.info("%s is there already", self.path)
                return None
            return whole.enter_context(whole_folder(self.path))

        def complete() -> None:
            assert part is not None
            write_rest(part, rest)
            metrics = self.run / "metrics.csv"
            if metrics.exists():  # rows from before a checkpoint are never computed again
                sync(metrics)
            whole.close()  # it is on disk, and has its name

        try:
            with whole:  # after an error it gives the space back, which may be what is missing
                part = first(begin)
                if part is not None:
                    write_tensors(part, tensors, peers)
                    first(complete)  # all ranks have written when this begins
        except OSError as error:
            raise CheckpointError(_cannot_write(self, error)) from error

    def read_into(self, tensors: dict[str, Any], no_dist: bool = True, verified: bool = False) -> None:
        """Fills a nested dict of tensors in place; see `step_tensors.read_tensors`.

        Raises:
            CheckpointError: One of them is not there, has another shape, or is damaged.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.step_tensors import read_tensors

        self._or_advise(lambda: read_tensors(self.path, tensors, no_dist, verified))

    def read_rest(self) -> dict[str, Any]:
        """Everything but the tensors.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.step_tensors import read_rest

        return self._or_advise(lambda: read_rest(self.path))

    def outline(self) -> "dict[str, Tensor]":
        """The names of its tensors, each with an empty one of its shape and type (on the meta device).

        Raises:
            CheckpointError: It is not complete, or damaged.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.step_tensors import outline

        self.refuse_incomplete()
        return self._or_advise(lambda: outline(self.path))

    def model_tensors(self) -> "dict[str, Stored]":
        """The model's tensors by name, each to be read when it is wanted.

        Raises:
            CheckpointError: It is not complete, or damaged.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.step_tensors import open_tensors

        self.refuse_incomplete()
        tensors = self._or_advise(lambda: open_tensors(self.path))
        return {
            name.removeprefix(MODEL): replace(tensor, read=partial(self._or_advise, tensor.read))
            for name, tensor in tensors.items()
            if name.startswith(MODEL)
        }

    def verify(self) -> None:
        """Reads all of it once, and compares every checksum with what was written.

        Raises:
            CheckpointError: A file is missing, cut, garbled or has a flipped byte; says what to do.
            LostError: The disk did not answer for `data.patience` seconds.
        """
        # late: torch takes 2 s, and to find a source needs none of it
        from vxl.checkpoint.step_tensors import verify

        self.refuse_incomplete()
        self._or_advise(lambda: verify(self.path))

    def refuse_incomplete(self) -> None:
        """Raises CheckpointError where the folder was not written to its end, or lost its index."""
        if not self.is_complete:
            raise CheckpointError(
                f"{self.path} is no complete checkpoint: it has no .metadata file.\n  {self._instead()}"
            )

    def remove(self) -> None:
        """Removes it; a kill on the way leaves no half of one under its name."""
        remove_folder(self.path)

    def set_aside(self) -> Path:
        """Gives it a name that nothing goes on from, for whoever wants to look into it; returns that."""
        number = 0
        while (aside := self.path.with_name(f"{DAMAGED}{number or ''}-{self.path.name}")).exists():
            number += 1
        self.path.rename(aside)
        sync(aside.parent)
        return aside

    def _or_advise(self, read: Callable[[], T]) -> T:
        """What `read` gives; where it says that a file is damaged, with what to do then."""
        try:
            return read()
        except CheckpointError as error:
            raise CheckpointError(f"{error}\n  {self._instead()}") from error

    def _instead(self) -> str:
        """What to do without this checkpoint."""
        earlier = [other for other in step_folders(self.run) if other.path != self.path]
        if not earlier:
            return "there is no other checkpoint of this run; to begin it anew:  on_existing=overwrite"
        return (
            f"the checkpoint of step {earlier[-1].step} is there too; ask and evaluate that one:  "
            f"checkpoint={earlier[-1].step}\n"
            f"  train on from it:  rm -r {self.path}   and the same command again"
        )


def step_folders(run: Path) -> list[StepFolder]:
    """The complete checkpoints of a run, oldest first."""
    paths = [path for path in (run / "checkpoints").glob("step-*") if STEP.fullmatch(path.name)]
    complete = [folder for folder in map(StepFolder, paths) if folder.is_complete]
    return sorted(complete, key=lambda folder: folder.step)


def choose_step(run: Path, which: str | int = "last") -> StepFolder:
    """One checkpoint of a run.

    Args:
        run: The run's directory.
        which: "last", "best", a step, or a folder's name (step-000300).

    Raises:
        CheckpointError: The run has no checkpoint, or not this one; the message lists those it has.
    """
    folders = step_folders(run)
    if not folders:
        raise CheckpointError(
            f"{run} has no checkpoint yet.\n  expected: {run}/checkpoints/step-000123/\n"
            "  train it further:  the command that began it, again"
        )
    for folder in folders:
        if str(which) in (str(folder.step), folder.path.name):
            return folder
    if which in ("last", "best"):
        folder_named = pointed_to(run / "checkpoints", which)
        if folder_named in folders:
            return folder_named
    if which == "last":  # the process died between the folder's rename and the pointer's
        return folders[-1]
    raise CheckpointError(
        f"{run} has no checkpoint {which}.\n  choose one of: last, "
        + ("best, " if (run / "checkpoints" / "best").is_file() else "")
        + ", ".join(str(folder.step) for folder in folders)
    )


def point_to(checkpoints: Path, name: str, folder: StepFolder) -> None:
    """Makes the small file `last` or `best` name a checkpoint.

    Raises:
        CheckpointError: It can't be written.
    """
    try:
        write_text(checkpoints / name, folder.path.name + "\n")
    except OSError as error:
        raise CheckpointError(_cannot_write(folder, error)) from error


def pointed_to(checkpoints: Path, name: str) -> StepFolder | None:
    """The folder that `last` or `best` names, there or not; None where the file says nothing sensible."""
    try:
        text = (checkpoints / name).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return StepFolder(checkpoints / text) if STEP.fullmatch(text) else None


def _cannot_write(folder: StepFolder, error: OSError) -> str:
    previous = [other for other in step_folders(folder.run) if other != folder]
    whole = f"the checkpoint of step {previous[-1].step} is whole" if previous else "there was none before"
    again = "goes on from there" if previous else "begins anew"
    return (
        f"the checkpoint {folder.path} can't be written: {why_not(error)}\n"
        f"  {whole}; then the same command {again}."
    )
