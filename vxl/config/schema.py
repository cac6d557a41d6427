"""The whole config of each entry script, in the order in which a video flows."""

from dataclasses import dataclass, field
from typing import Literal

from vxl.compressor.base import CompressorConfig
from vxl.config.option import option
from vxl.config.recipe import RecipeConfig
from vxl.data.base import DataConfig
from vxl.data.prompt import PromptConfig
from vxl.evaluate.benchmark import BenchmarkConfig
from vxl.kv.policy import PolicyConfig
from vxl.llm.decoder import DecoderConfig
from vxl.prefill.base import PrefillConfig
from vxl.relevance.attention import AttentionConfig
from vxl.relevance.base import RelevanceConfig
from vxl.selector.base import SelectorConfig
from vxl.selector.none import KeepAllConfig
from vxl.train.cluster import ClusterConfig, HereConfig
from vxl.train.logger import LoggerConfig
from vxl.train.optimizer import OptimConfig
from vxl.train.retention import RetentionConfig
from vxl.train.stage import StageConfig
from vxl.train.strategy import StrategyConfig
from vxl.train.trainer import TrainerConfig
from vxl.video.sample import VideoConfig
from vxl.vision.base import VisionConfig


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
class ModelParts:
    """The parts of a model, and where its weights come from: what `vxl.load` needs."""

    model: str
    """Which model the parts make up (a choice of conf/model)."""
    size: str
    """`published`, or `tiny` for the same model in miniature."""
    video: VideoConfig
    vision: VisionConfig
    compressor: CompressorConfig
    selector: SelectorConfig = field(default_factory=KeepAllConfig)
    llm: DecoderConfig
    prefill: PrefillConfig
    kv: PolicyConfig
    relevance: RelevanceConfig = field(default_factory=AttentionConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    weights: str = "random"
    """`random`, or a folder of weights."""
    seed: int = 0
    """Seed of all randomness: weights, order of the data, dropout."""
    plugins: list[str] = field(default_factory=list)
    """Packages of your own whose parts and configs may be named."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ModelParts):
    """`python train.py`."""

    data: DataConfig
    stage: StageConfig
    optim: OptimConfig
    trainer: TrainerConfig
    strategy: StrategyConfig
    cluster: ClusterConfig = field(default_factory=HereConfig)
    checkpoint: RetentionConfig
    logger: LoggerConfig
    paths: PathsConfig
    debug: DebugConfig
    recipe: RecipeConfig | None = None
    """Stages to run in order, each in `<name>/<stage>`; null: the one stage."""
    name: str | None = option(None, resumable=True)
    """Name of the run and its directory; by default <model>-<hash of what identifies it>."""
    init_from: str | None = None
    """A run or folder of weights to start from (a warm start, not a resume)."""
    on_existing: Literal["resume", "fail", "overwrite"] = option("resume", resumable=True)
    """What to do when the run exists."""
    dry_run: bool = option(False, resumable=True)
    """Only say what would run: names, sizes, tokens, memory."""
    sweep_name: str | None = option(None, resumable=True)
    """Set by the command line of a sweep: its name."""
    sweep_member: str | None = option(None, resumable=True)
    """Set by the command line of a sweep: the member's name."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`python evaluate.py`."""

    run: str
    """Name of a run below paths.runs, or its path."""
    benchmark: BenchmarkConfig
    """What to ask."""
    paths: PathsConfig
    debug: DebugConfig
    checkpoint: str = "last"
    """Which checkpoint: last, best, or a step."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    max_new_tokens: int = 8
    """Longest answer, in tokens."""
    limit: int | None = None
    """Ask only the first so many questions."""
    plugins: list[str] = field(default_factory=list)
    """Packages of your own whose parts and configs may be named."""


SCHEMAS: dict[str, type] = {"train": TrainConfig, "evaluate": EvaluateConfig}
"""Schema of each config file in conf/."""
