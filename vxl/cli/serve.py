"""`vxl serve`: a model behind an OpenAI-compatible endpoint, with a page to try it."""

from collections.abc import Sequence
from importlib.util import find_spec

from vxl.cli.loaded import loaded_by
from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.serve.config import SETTINGS, ServeConfig, serve_config
from vxl.terminal.say import say

NEEDED = ("starlette", "uvicorn", "prometheus_client", "httpx2")
OF_MODEL = ("run", "model", "weights", "checkpoint", "device", "paths.runs")

SERVE_SETTINGS = """\
settings:
  host=127.0.0.1 port=8000    where it listens; another host needs a key
  key_file=FILE               the key that clients must send (or VXL_SERVE_KEY in the environment)
  files=A|B                   folders below which file:// may read; none: it is refused
  domains=HOST|*.HOST         hosts that http(s):// may fetch from; none: it is refused
  contexts=FOLDER             what was watched, kept over restarts (.cache/vxl/contexts); null: not kept
  memory_mib=2048             of what was watched, in memory; disk_mib=16384 on disk
  max_mib=128 max_seconds=14400 max_frames=10000   of one video
  queue=64 batch=8            requests at once, and questions on one video that are answered together
  max_new_tokens=4096         longest answer
  examples=FOLDER             videos that the page at / offers; page=false: no page
  name=NAME                   what clients call the model; by default the run's name

The model is chosen as for `vxl ask`: run=, checkpoint=, weights=, model=, device=, kv=…, video.max_frames=…

"""


def run_serve(words: Words) -> None:
    """Serves a model until it is interrupted.

    Args:
        words: A run's name, or `run=`, `weights=` or `model=` and other choices as in training; the settings
            of `ServeConfig`.

    Raises:
        ConfigError: A word is missing or means nothing, or a package is not there.
        CheckpointError: The run has no weights.
    """
    words.take("debug")
    root = words.runs()
    config = _config(words)
    refuse_without(NEEDED)

    from vxl.serve.listen import listen  # late, like the model: a mistake in a word is answered without torch

    loaded = loaded_by(words, root, (*OF_MODEL, *SETTINGS))
    loaded.use_threads_of_training()
    listen(loaded, config, say)


def _config(words: Words) -> ServeConfig:
    """The server's settings, taken out of the words; a bare word is the run."""
    if len(words.rest) > 1:
        raise ConfigError(
            f"vxl serve serves one model; got {', '.join(words.rest)}.\n  e.g.  vxl serve RUN port=8000"
        )
    for word in words.rest:
        if words.settings.setdefault("run", word) != word:
            raise ConfigError(f"run is given twice: {word} and {words.settings['run']}.")
    if not {"run", "model", "weights"} & words.settings.keys():
        raise ConfigError(
            "vxl serve needs a model: RUN, weights=FOLDER or model=NAME.\n  e.g.  vxl serve RUN port=8000"
        )
    return serve_config({key: words.settings.pop(key) for key in SETTINGS if key in words.settings})


def refuse_without(packages: Sequence[str]) -> None:
    """Raises ConfigError where a package is not there."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"vxl serve needs packages that are not here: {', '.join(missing)}.\n"
            "  type  pip install 'vxl[serve]'"
        )
