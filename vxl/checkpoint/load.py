"""`vxl.load`: a trained (or random) model with tokenizer and config, from a run directory or a config file.

Needs torch, transformers and PyYAML; not Hydra, Lightning or W&B.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from vxl.checkpoint.resolved import model_parts, read_config
from vxl.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from vxl.config.schema import ModelParts
    from vxl.data.encoded import Shown
    from vxl.data.prompt import Prompt
    from vxl.generate import Answer, Context, Sampling
    from vxl.model import VideoLanguageModel

log = logging.getLogger(__name__)

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Look:
    """A video (or the part of it between two times) or an image to be watched."""

    media: Any
    """Path, bytes, or an open binary file."""
    kind: Literal["video", "image"] = "video"
    start: float | None = None
    """Seconds at which the part begins; None for the file's start."""
    end: float | None = None
    """Seconds at which it ends; None for the file's end."""
    name: str | None = None
    """What to call it in messages, and what lists of selected chunks call it."""

    @property
    def title(self) -> str:
        """What it is called: its name, or its file's name without the folder."""
        named = self.name or (self.media if isinstance(self.media, str | Path) else "")
        return Path(str(named)).name


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to watch and answer."""

    model: "VideoLanguageModel"
    own_tokenizer: "PreTrainedTokenizerFast | None"
    """None where weights came without one."""
    config: "ModelParts"
    """Its parts' settings, overrides included."""
    values: dict[str, Any] = field(repr=False)
    """The whole resolved config as plain values; for a run also its data, stage, trainer, ..."""
    checkpoint: Path | None = None
    """The folder that the weights came from; None for random weights."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The model's tokenizer.

        Raises:
            ConfigError: The weights came without one.
        """
        if self.own_tokenizer is None:
            raise ConfigError(
                f"{self.checkpoint} came without a tokenizer.\n"
                "  type  prompt.tokenizer=FOLDER   or a hub name, such as "
                "prompt.tokenizer=Qwen/Qwen2.5-7B-Instruct"
            )
        return self.own_tokenizer

    @cached_property
    def prompt(self) -> "Prompt":
        """How questions are written down for this model."""
        from vxl.compressor.plan import plan
        from vxl.data.prompt import Prompt

        return Prompt(
            self.config.prompt, self.tokenizer, plan(self.config.compressor, self.config.vision.grid)
        )

    def use_threads_of_training(self) -> None:
        """Computes with as many CPU threads as the run did: numbers depend on it, and so does the time."""
        import torch

        threads = (self.values.get("trainer") or {}).get("threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def watch(
        self, *looks: "Look | str | Path", on_piece: Callable[[int, int], None] | None = None
    ) -> "Context":
        """Watches videos and images once; any number of questions can then be asked about them.

        Args:
            looks: What to watch, in order: paths, or `Look`s for parts of videos, images and bytes.
            on_piece: Called with the groups done and the groups of all of it.

        Raises:
            DataError: Something can't be read.
        """
        from vxl.generate import watch

        seen = [_look(look) for look in looks]
        opened = [self._open(look) for look in seen]
        head = self.prompt.head([shown for shown, _ in opened])
        self._say_if_too_long(len(head))
        frames = [frames for _, frames in opened]
        return watch(self.model, head, frames, names=[look.title for look in seen], on_piece=on_piece)

    def ask(
        self,
        context: "Context",
        question: str,
        **settings: Any,
    ) -> "Answer":
        """Answers a question about what was watched; see `ask_all`."""
        return self.ask_all(context, [question], **settings)[0]

    def ask_all(
        self,
        context: "Context",
        questions: Sequence[str],
        *,
        max_new_tokens: int = 32,
        stop_text: Collection[str] = (),
        sampling: "Sampling | None" = None,
        on_token: Callable[[int, int], None] | None = None,
        on_text: Callable[[int, str], None] | None = None,
    ) -> "list[Answer]":
        """Answers questions about what was watched, all at once; the context stays as it is.

        Args:
            context: From `watch`.
            questions: Of any lengths.
            max_new_tokens: Longest answer.
            stop_text: Strings that end an answer, beside the model's own end.
            sampling: How tokens are chosen; None = the most likely.
            on_token: Called with row and token as soon as a token is known.
            on_text: Called with row and the next piece of its text, as soon as it is certain.
        """
        from vxl.generate import ask_all

        prompt = self.prompt
        return ask_all(
            context,
            [prompt.tail(question, after_visual=context.frames > 0) for question in questions],
            max_new_tokens=max_new_tokens,
            stop=(prompt.end, prompt.pad),
            stop_text=stop_text,
            sampling=sampling,
            tokenizer=self.tokenizer,
            texts=questions,
            on_token=on_token,
            on_text=on_text,
        )

    def _say_if_too_long(self, tokens: int) -> None:
        """Warns where the language model has to extrapolate to positions that it was not trained for."""
        from vxl.kv.policy import Policy

        model, most = self.model, self.model.llm.max_positions
        policy = type(model.policy)
        keeps_all = not model.policy.acts_in_prefill and policy.around is Policy.around
        if tokens > most and keeps_all and not model.selector.drops:
            frames = self.config.video.max_frames
            log.warning(
                "%d tokens to watch, but the language model was trained for %d: answers may be poor.\n"
                "  fewer frames:  video.max_frames=%d   or a smaller cache, such as kv=streaming",
                tokens,
                most,
                max(1, frames * most // tokens),
            )

    def _open(self, look: Look) -> "tuple[Shown, Iterable[torch.Tensor]]":
        """When the frames are, and the frames, read when they are needed."""
        from vxl.config.option import build
        from vxl.data.encoded import Shown
        from vxl.video.load import load_image, stream_video
        from vxl.video.tiles import cut

        pixels = self.config.vision.pixels
        if look.kind == "image":
            image_CHW = load_image(look.media, None, name=look.name)
            views_FCHW = cut(image_CHW, pixels, self.config.prompt.images)
            return Shown("image", (0.0,) * len(views_FCHW)), [views_FCHW]
        piece = self.prompt.plan.frames_per_group * self.config.prefill.groups
        stream = stream_video(
            look.media,
            build(self.config.video),
            pixels,
            piece=piece,
            start=look.start,
            end=look.end,
            name=look.name,
        )
        return Shown("video", tuple(stream.seconds)), stream.pieces


def load(
    path: str | Path,
    *,
    checkpoint: str | int = "last",
    device: str = "auto",
    overrides: Sequence[str] = (),
    runs: str | Path = "runs",
    dtype: "torch.dtype | None" = None,
) -> Loaded:
    """Loads a model to evaluate or to ask.

    Args:
        path: A run (its directory, or its name below `runs`), one of its checkpoint folders, a folder of
            weights (vxl's or a published one), or a resolved YAML file.
        checkpoint: Which of a run's checkpoints: "last", "best", or a step.
        device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1".
        overrides: Changes to the config, as on the command line: `video.max_frames=64`, `kv=streaming`.
        runs: The folder of runs.
        dtype: Precision of the weights; None for what suits the device.

    Raises:
        ConfigError: There is no such run, or an override does not fit.
        CheckpointError: The run has no such checkpoint, or its weights don't fit the model.
    """
    from vxl.checkpoint.source import is_vxl, is_weights

    place = find(path, Path(runs))
    if place.is_file() and place.name == "resolved.yaml" and is_vxl(place.parent):
        place = place.parent
    if is_weights(place):
        from vxl.checkpoint.load_weights import load_weights

        return Loaded(*load_weights(place, pick_device(device), overrides, dtype), place)
    if place.is_file():
        return assemble(read_config(place, overrides), device, Path(runs), dtype=dtype)
    run, folder = weights_of(place, checkpoint)
    return assemble(read_config(run / "resolved.yaml", overrides), device, Path(runs), run, folder, dtype)


def load_context(path: str | Path, loaded: Loaded) -> "Context":
    """Reads a context that `Context.save` wrote; see `vxl.generate.saved.load_context`."""
    from vxl.generate import load_context

    return load_context(path, loaded.model)


def find(path: str | Path, runs: Path) -> Path:
    """The run directory, checkpoint folder, folder of weights or config file that a path or name means."""
    from vxl.checkpoint.source import is_weights

    given = Path(path).expanduser()
    if given.is_file() and given.suffix in (".yaml", ".yml"):
        return given
    if is_weights(given) or (given.parent.name == "checkpoints" and (given / ".metadata").exists()):
        return given
    from vxl.runs import find_run

    return find_run(str(path), runs).path


def weights_of(place: Path, checkpoint: str | int = "last") -> tuple[Path, Path]:
    """(run directory, checkpoint folder) of a run directory or of one of its checkpoint folders.

    A folder of weights is both.
    """
    from vxl.checkpoint.folder import choose, step_of
    from vxl.checkpoint.source import is_weights

    if is_weights(place):
        return place, place
    if place.parent.name == "checkpoints":
        place, checkpoint = place.parent.parent, step_of(place)
    return place, choose(place, checkpoint)


def assemble(
    values: dict[str, Any],
    device: str,
    runs: Path,
    run: Path | None = None,
    folder: Path | None = None,
    dtype: "torch.dtype | None" = None,
) -> Loaded:
    """Builds the model that a resolved config describes, in evaluation mode.

    Args:
        values: The resolved config.
        device: As in `load`.
        runs: The folder of runs, in which `weights` may name one.
        run: Directory of the run that the tokenizer comes from, if it has one.
        folder: Checkpoint folder with the weights; None takes those that the key `weights` names.
        dtype: Precision of the weights; None for what suits the device.

    Raises:
        ConfigError: The parts don't fit each other.
        CheckpointError: The weights are not there, or don't fit.
    """
    import torch

    from vxl.checkpoint.folder import read_weights
    from vxl.checkpoint.source import is_weights
    from vxl.model import build_model

    config = model_parts(values)
    if folder is None and config.weights != "random":
        run, folder = named_weights(config.weights, runs)
    target = pick_device(device)
    tokenizer = _tokenizer(values, config, run)
    dtype = dtype or _precision(values, target)
    if folder is not None and is_weights(folder):
        from vxl.checkpoint.fill import skeleton
        from vxl.checkpoint.load_weights import fill_from

        model = skeleton(config, vocab_size=len(tokenizer))
        fill_from(folder, model, device=target, dtype=dtype or torch.get_default_dtype())
        return Loaded(model.eval(), tokenizer, config, values, folder)
    # A checkpoint holds every tensor, so there is nothing to fetch from elsewhere first.
    model = build_model(
        config, vocab_size=len(tokenizer), device=target, dtype=dtype, pretrained=folder is None
    )
    if folder is not None:
        read_weights(folder, model)
    return Loaded(model.eval(), tokenizer, config, values, folder)


def pick_device(device: str) -> "torch.device":
    """A torch device out of "auto", "cpu", "cuda", "cuda:1".

    Raises:
        ConfigError: There is no such device here.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device={device} is no device.\n  allowed: auto, cpu, cuda, cuda:N") from error
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ConfigError(f"device={device}, but there are {count} GPUs here.\n  type  device=auto")
    return found


def _precision(values: dict[str, Any], device: "torch.device") -> "torch.dtype | None":
    """The parameters' type: on a GPU that of the training's arithmetic, on a CPU torch's default."""
    import torch

    trained = str((values.get("trainer") or {}).get("precision", ""))
    return torch.bfloat16 if device.type == "cuda" and trained.startswith("bf16") else None


def named_weights(weights: str, runs: Path) -> tuple[Path, Path]:
    """The run and checkpoint folder that `weights=` names.

    Raises:
        CheckpointError: There is none of that name.
    """
    try:
        place = find(weights, runs)
    except ConfigError as error:
        raise CheckpointError(
            f"weights={weights}: neither a run in {runs}/ nor a checkpoint folder, nor a folder of weights.\n"
            "  type one of\n"
            "    weights=FOLDER                              published weights, or those of `vxl import`\n"
            "    weights=runs/NAME                           a run's last checkpoint\n"
            "    weights=runs/NAME/checkpoints/step-000123   this one\n"
            "    weights=random                              an untrained model"
        ) from error
    return weights_of(place)


def _tokenizer(values: dict[str, Any], config: "ModelParts", run: Path | None) -> "PreTrainedTokenizerFast":
    """The run's own tokenizer; without a run the one that its data and language model name."""
    from vxl.data.tokenizer import load_tokenizer, tokenizer_in, tokenizer_of

    own = None if run is None else tokenizer_in(run)
    if own is not None:
        return load_tokenizer(own)
    if config.prompt.tokenizer is None and "data" not in values:
        raise ConfigError("the config names no data, and so no tokenizer.\n  e.g.  prompt.tokenizer=FOLDER")
    paths = SimpleNamespace(**({"cache": ".cache/vxl", "runs": "runs"} | (values.get("paths") or {})))
    start = values.get("init_from")
    names = SimpleNamespace(
        prompt=config.prompt, llm=config.llm, paths=paths, init_from=start, weights=config.weights
    )
    return tokenizer_of(names, _texts(values, Path(paths.cache)))


def _texts(values: dict[str, Any], cache: Path) -> Any:
    """The data whose texts a small tokenizer is trained from, prepared only if they are wanted."""
    from vxl.config.option import build
    from vxl.config.rebuild import rebuild
    from vxl.data.base import DataConfig

    def texts() -> Iterator[str]:
        data = build(rebuild(DataConfig, values["data"], "data"), cache=cache)
        data.prepare()
        return data.texts()

    return SimpleNamespace(texts=texts)


def _look(look: "Look | str | Path") -> Look:
    if isinstance(look, Look):
        return look
    return Look(str(look), "image" if Path(look).suffix.lower() in IMAGES else "video")
