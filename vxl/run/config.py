"""Settings that every entry script has, and those by which a run's directory is named and found."""

from dataclasses import dataclass, field
from typing import Literal

from vxl.option.option import option


@dataclass(frozen=True, kw_only=True)
class PathsConfig:
    """Where things go; relative paths start at the working directory."""

    runs: str = option("runs", resumable=True)
    """Folder of run directories."""
    cache: str = option(".cache/vxl", resumable=True)
    """Folder of prepared data: shards written from examples, indexes, tokenizers."""


@dataclass(frozen=True, kw_only=True)
class DebugConfig:
    """What to show when something goes wrong."""

    traceback: bool = option(False, resumable=True)
    """Print full tracebacks, of a user's errors too."""
    profile: int = option(0, resumable=True)
    """Time so many steps and trace as many more, then stop; 0: no profile."""
    replay: bool = option(False, resumable=True)
    """Rerun the batch at which the run's loss or gradient stopped being a number."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run's directory needs to know: the run's name, where it lies, and what to do if it is there.

    A config that extends it adds what the run does; every key that is not marked `resumable` identifies it.
    """

    model: str
    """Which model the parts make up (a choice of conf/model)."""
    name: str | None = option(None, resumable=True)
    """Name of the run and its directory; by default <model>-<hash of what identifies it>."""
    on_existing: Literal["resume", "fail", "overwrite"] = option("resume", resumable=True)
    """What to do when the run exists."""
    paths: PathsConfig = field(default_factory=PathsConfig)
    """Where things go."""
    sweep_name: str | None = option(None, resumable=True)
    """Set by the command line of a sweep: its name."""
    sweep_member: str | None = option(None, resumable=True)
    """Set by the command line of a sweep: the member's name."""
