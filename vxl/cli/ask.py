"""`vxl ask`: a question about a video, from the command line."""

import contextlib
import math
import sys
from collections.abc import Generator
from dataclasses import asdict, replace
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vxl.cli.ask_words import video_and_questions
from vxl.cli.loaded import loaded_by
from vxl.cli.words import Words
from vxl.data.batch.answer import format_question
from vxl.data.batch.letter import parse_letter
from vxl.data.fields import bare_options
from vxl.data.sample import Question
from vxl.errors import ConfigError, VxlError
from vxl.imported import imported_for_good
from vxl.terminal.say import complain, say
from vxl.terminal.screen import Screen
from vxl.terminal.typed import refuse_no_text
from vxl.units import human_size
from vxl.video.container import content_of
from vxl.video.endings import frame_files, media_kind

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from vxl.generate import Answer, Context
    from vxl.generate.loaded import LoadedModel

SETTINGS = (
    "run",
    "model",
    "weights",
    "checkpoint",
    "device",
    "max_new_tokens",
    "temperature",
    "stop",
    "options",
    "context",
    "start",
    "end",
    "fps",
    "paths.runs",
)


def run_ask(words: Words, console: Console | None = None) -> list["Answer"]:
    """Watches a video once and answers the questions about it, one after the other.

    Args:
        words: `run=NAME`, `weights=FOLDER`, or `model=NAME` and other choices as in training; the video; the
            questions. A terminal is asked for them, one after the other, where there are none.
        console: Where progress and facts go; the answers go to standard output.

    Raises:
        ConfigError: A word is missing, or a setting does not exist.
        DataError: The video can't be read.
        CheckpointError: The run has no weights.
    """
    console = console or Screen(stderr=True)
    words.take("debug")
    root = words.runs()
    folder = words.settings.get("context")
    again = folder is not None and (Path(folder) / "context.json").is_file()
    prompted = console.is_terminal and sys.stdin is not None and sys.stdin.isatty()
    video, questions = video_and_questions(
        words.rest, words.settings, root, optional=again, prompted=prompted
    )
    words.take("context")
    fps = _rate(words.take("fps"))
    options = _options(words.take("options"))
    max_new_tokens = _number(words.take("max_new_tokens", "64"), "max_new_tokens", int, "32")
    temperature = _number(words.take("temperature", "0"), "temperature", float, "0.7")
    stop = (words.take("stop") or "").split("|")
    start, end = (_number(words.take(key), key, float) for key in ("start", "end"))
    with imported_for_good():
        from vxl.generate import Sampling  # late: torch takes 2 s, and --help needs none

    loaded = loaded_by(words, root, SETTINGS)
    loaded.use_threads_of_training()
    console.print(_who(loaded), markup=False, highlight=False, soft_wrap=True)
    if again:
        context = _read(folder, loaded, video, start, end, fps)
    else:
        context = watch_with_progress(loaded, video, start, end, console, fps)
        if folder is not None:
            from vxl.generate import save_context  # late: torch takes 2 s, and --help needs none of it

            save_context(replace(context, about=_about(loaded, video, start, end, fps)), folder)
            console.print(f"kept: {folder}", markup=False, highlight=False, soft_wrap=True)
    answers = []
    for question in questions or _typed(console):
        if len(questions) > 1:
            console.print(f"\n{question}", style="bold", markup=False, highlight=False)
        settings = {"max_new_tokens": max_new_tokens, "stop_text": stop, "sampling": Sampling(temperature)}
        try:
            answer = _answer(loaded, context, question, options, settings)
        except VxlError as error:
            if questions:
                raise
            complain(str(error))  # the next one may be asked: what was watched is kept
            continue
        console.print(_cost(context, answer, again), markup=False, highlight=False, style="dim")
        answers.append(answer)
    return answers


def _typed(console: Console) -> Generator[str]:
    """Questions as they are typed, until an empty line or the end of the input."""
    with contextlib.suppress(ImportError):  # the arrow keys, where Python has them
        import_module("readline")
    console.print("questions about it, one a line; an empty line ends", style="dim")
    with contextlib.suppress(EOFError):
        while question := console.input("[bold]?[/] ").strip():
            try:
                refuse_no_text([question])
            except ConfigError as error:
                complain(str(error))
                continue
            yield question


def watch_with_progress(
    loaded: "LoadedModel",
    video: str,
    start: float | None,
    end: float | None,
    console: Console,
    fps: float | None,
) -> "Context":
    """Watches under a progress bar: decoding, vision, compression and prefill go hand in hand.

    With `fps` the video is a folder of frames.
    """
    from vxl.generate.loaded import Clip  # late: torch takes 2 s, and --help needs none of it
    from vxl.video.virtual import FrameFolder

    kind = "image" if fps is None and media_kind(video) == "image" else "video"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("decoding", total=None)

        def on_piece(done: int, total: int) -> None:
            progress.update(bar, description="decoding and prefill, groups", completed=done, total=total)

        media = video if fps is None else FrameFolder(Path(video), fps)
        return loaded.watch(Clip(media, kind, start, end, name=video), on_piece=on_piece)


def _about(
    loaded: "LoadedModel", video: str, start: float | None, end: float | None, fps: float | None
) -> dict[str, Any]:
    """What a kept context is of."""
    sampling = {f"video.{key}": value for key, value in asdict(loaded.config.video).items()}
    files = [Path(video)] if fps is None else frame_files(Path(video))
    sizes = [file.stat().st_size for file in files]
    contents = [content_of(file, size) for file, size in zip(files, sizes, strict=True)]
    about = {
        "video": Path(video).name,
        "bytes": sum(sizes),
        "content": contents[0]
        if fps is None
        else blake2b("".join(contents).encode(), digest_size=8).hexdigest(),
        "start": start,
        "end": end,
        **sampling,
    }
    return about if fps is None else about | {"fps": fps}


def _read(
    folder: str,
    loaded: "LoadedModel",
    video: str | None,
    start: float | None,
    end: float | None,
    fps: float | None,
) -> "Context":
    """A context that was kept.

    Raises:
        ConfigError: It is of something else than is asked for.
        CheckpointError: It is of another model.
    """
    from vxl.checkpoint.load import load_context  # late: torch takes 2 s, and --help needs none of it

    context = load_context(folder, loaded)
    if video is None:
        return context
    about = _about(loaded, video, start, end, fps)
    other = [key for key in about if context.about.get(key) != about[key]]
    if other:
        lines = [f"  {key}: {context.about.get(key)} there, {about[key]} here" for key in other]
        raise ConfigError(
            "\n".join(
                [f"context={folder} is of something else.", *lines, "  name another folder, or remove it"]
            )
        )
    return context


def _answer(
    loaded: "LoadedModel",
    context: "Context",
    question: str,
    options: tuple[str, ...],
    settings: dict[str, Any],
) -> "Answer":
    """Asks, and writes the answer to standard output as it comes."""
    text = format_question(Question(question, options, "A")) if options else question
    answer = loaded.ask(context, text, on_text=write, **settings)
    if options:
        letter = parse_letter(answer.text, options)
        say(f"  ({options[ascii_uppercase.index(letter)]})" if letter else "  (no option)", end="")
    say("" if answer.stopped else " …")
    return answer


def write(row: int, text: str) -> None:
    """Writes a piece of an answer to standard output, at once."""
    say(text, end="")


def _options(text: str | None) -> tuple[str, ...]:
    """`a|b|c|d` as options.

    Raises:
        ConfigError: There are fewer than two different ones, or more than there are letters.
    """
    if text is None:
        return ()
    options = bare_options([option.strip() for option in text.split("|") if option.strip()])
    if twice := next((option for option in options if options.count(option) > 1), None):
        raise ConfigError(f"options={text!r} holds {twice!r} twice.")
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise ConfigError(
            f'options={text!r} holds {len(options)}.\n  expected: 2 to 26, as  options="red|green|blue"'
        )
    return options


def _number(text: str | None, key: str, kind: type, example: str = "2") -> Any:
    if text is None:
        return None
    try:
        value = kind(text)
    except ValueError as error:
        raise ConfigError(f"{key}={text} is no number.\n  e.g.  {key}={example}") from error
    if not value >= 0 or (kind is int and value < 1):  # NaN is no number either
        raise ConfigError(f"{key}={text} is too small.\n  e.g.  {key}={example}")
    return value


def _rate(text: str | None) -> float | None:
    """Frames a second of a folder of frames."""
    fps = _number(text, "fps", float)
    if fps is not None and not 0 < fps < math.inf:
        raise ConfigError(f"fps={text} is no rate.\n  e.g.  fps=2")
    return fps


def _who(loaded: "LoadedModel") -> str:
    if loaded.checkpoint is None:
        return f"{loaded.config.model} with random weights: it has learned nothing, its answers mean nothing"
    if loaded.checkpoint.parent.name != "checkpoints":
        return f"{loaded.checkpoint.name}, {loaded.config.model}, on {loaded.model.device}"
    return f"{loaded.checkpoint.parents[1].name}, {loaded.checkpoint.name}, on {loaded.model.device}"


def _cost(context: "Context", answer: "Answer", again: bool) -> str:
    tokens = len(answer.tokens) + answer.stopped
    rate = f" · {1000 * (tokens - 1) / answer.decode_ms:.1f} tokens/s" if tokens > 1 else ""
    size = f"{context.frames} frames, {context.visual_tokens} visual tokens"
    return (
        f"{size} · {'kept from before' if again else f'watched in {context.watch_ms:.0f} ms'}\n"
        f"first token after {answer.prefill_ms:.0f} ms{rate} · cache {human_size(answer.cache_bytes)} "
        f"(and {human_size(answer.cache_room_bytes)} of room)"
    )
