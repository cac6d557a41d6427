"""The config of `python train.py`, and of recipes."""

from dataclasses import dataclass, field

from vxl.data.base import DataConfig
from vxl.errors import ConfigError
from vxl.logger.base import LoggerConfig
from vxl.option.option import option
from vxl.parts import ModelParts
from vxl.run.config import DebugConfig, RunConfig
from vxl.train.launch.cluster import ClusterConfig, HereConfig
from vxl.train.parallel.strategy import StrategyConfig
from vxl.train.saving.retention import RetentionConfig
from vxl.train.step.optimizer import OptimConfig
from vxl.train.step.stage import StageConfig
from vxl.train.trainer import TrainerConfig


@dataclass(frozen=True, kw_only=True)
class RecipeStage:
    """One stage of a recipe."""

    stage: str
    """A choice of conf/stage."""
    set: list[str] = field(default_factory=list)
    """What else is set for this stage alone, as on the command line: `'data.train=[a/*.tar]'`."""


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Stages that follow each other."""

    stages: list[RecipeStage]
    """In order; each starts from the weights of the one before."""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("stages=[] is no recipe.\n  e.g.  recipe.stages=[{stage: align}]")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ModelParts, RunConfig):
    """`python train.py`."""

    data: DataConfig
    stage: StageConfig
    optim: OptimConfig
    trainer: TrainerConfig
    strategy: StrategyConfig
    cluster: ClusterConfig = field(default_factory=HereConfig)
    checkpoint: RetentionConfig
    logger: LoggerConfig
    debug: DebugConfig
    recipe: RecipeConfig | None = None
    """Stages to run in order, each in `<name>/<stage>`; null: the one stage."""
    init_from: str | None = None
    """A run or folder of weights to start from (a warm start, not a resume)."""
    dry_run: bool = option(False, resumable=True)
    """Only say what would run: names, sizes, tokens, memory."""
