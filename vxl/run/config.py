"""Settings that every entry script has: where things go, and what to show when something goes wrong."""

from dataclasses import dataclass

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
