"""Which word of `vxl ask` is the video, and which are questions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vxl.cli.words import is_there
from vxl.errors import ConfigError, DataError
from vxl.option.rebuild import nearest
from vxl.run.find import list_runs
from vxl.terminal.typed import refuse_no_text
from vxl.video.endings import media_kind

EXAMPLE = 'vxl ask run=NAME VIDEO "What happens after the goal?"'
ASK_SETTINGS = """\
settings:
  run=NAME               a run of python train.py, or its path
  checkpoint=WHICH       which of its checkpoints: last, best, or a step
  weights=FOLDER         a folder of weights, vxl's or a published one
  model=NAME             a model of conf/model
  kv=… video.fps=…       parts and keys, as in training
  options="a|b|c"        options with letters, to choose from
  start=S end=S          only this part of the video, in seconds
  fps=2                  the video is a folder of frames, so many a second
  context=FOLDER         keep what was watched, or ask about what was kept
  max_new_tokens=64      longest answer, in tokens
  temperature=0          0: the likeliest token each time
  stop="a|b"             texts that end an answer
  device=auto            auto, cpu, cuda or cuda:N
  paths.runs=FOLDER      the folder of runs

"""


def video_and_questions(
    rest: Sequence[str],
    settings: dict[str, str],
    root: Path,
    *,
    optional: bool = False,
    prompted: bool = False,
) -> tuple[Any, list[str]]:
    """(the video, the questions) of the words that are no settings, in any order.

    With `optional`, the video may be missing: None. With `prompted`, the questions may: they are typed later.

    Raises:
        ConfigError: One of them is missing.
    """
    if not {"run", "model", "weights"} & settings.keys():
        close = [f"{near[0]}={settings[key]}" for key in settings if (near := nearest(key, ("run", "model")))]
        hint = f"\n  did you mean {' or '.join(close)}?" if close else ""
        runs = [run.name for run in list_runs(root) if run.status == "finished"][:3]
        some = f"\n  finished runs: {', '.join(runs)}" if runs else ""
        raise ConfigError(
            f"vxl ask needs a model: run=NAME, weights=FOLDER or model=NAME.{hint}{some}\n  e.g.  {EXAMPLE}"
        )
    refuse_no_text(rest)
    if not all(word.strip() for word in rest):
        raise ConfigError(f"a question is empty.\n  e.g.  {EXAMPLE}")
    of_frames = "fps" in settings
    files = [word for word in rest if is_there(word) and Path(word).is_dir() == of_frames]
    looks_like = [word for word in rest if " " not in word and media_kind(word) and not word.endswith("?")]
    videos = [word for word in dict.fromkeys(files + looks_like) if word in files or files]
    if len(videos) > 1:
        raise ConfigError(
            f"vxl ask watches one video; got {len(videos)}: {', '.join(videos)}.\n"
            "  in Python:  loaded.watch(A, B)  watches several"
        )
    video = next(iter(files or looks_like), None)
    questions = [word for word in rest if word != video]
    if video is None and optional and (questions or prompted):
        return None, questions
    file = video or next(filter(is_there, rest), None)
    if file is not None and is_there(file) and Path(file).is_dir() != of_frames:
        raise ConfigError(
            f"{file} is a file, which says itself how many frames a second it has.\n  leave out  fps="
            if of_frames
            else f"{file} is a folder: of frames, how many a second are there?\n  type e.g.  fps=2"
        )
    if video is None:
        kept = "\n  context= holds nothing that was watched before" if "context" in settings else ""
        raise ConfigError(
            f"vxl ask needs a video.{kept}\n  got: {' '.join(map(repr, rest)) or 'none'}\n  e.g.  {EXAMPLE}"
        )
    if not Path(video).exists():
        raise DataError(f"{video}: no such file.\n  check the path; folders are not searched")
    if not questions and not prompted:
        taken = [f"{key}={value}" for key, value in settings.items() if " " in value or value.endswith("?")]
        hint = f"\n  taken for settings: {', '.join(taken)}" if taken else ""
        raise ConfigError(f"vxl ask needs a question about {video}.{hint}\n  e.g.  {EXAMPLE}")
    return video, questions
