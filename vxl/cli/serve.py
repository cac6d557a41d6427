"""`vxl serve`: a model behind an OpenAI-compatible endpoint, with a page to try it."""

from vxl.cli.loaded import loaded_by
from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.serve.config import SETTINGS, ServeConfig, serve_config
from vxl.terminal.say import say

OF_MODEL = ("run", "model", "weights", "checkpoint", "device", "paths.runs")

SERVE_SETTINGS = """\
settings:
  host=127.0.0.1         where it listens; another host needs a key
  port=8000              its port; 0: a free one
  key_file=FILE          the key that clients must send (or VXL_SERVE_KEY)
  open=false             true: no key, although other machines reach it
  hosts=A|B              names that browsers may reach it by, without a key
  name=NAME              what clients call the model; else the run's name
  files=A|B              folders that file:// may read below; else refused
  domains=A|*.B|C:8443   hosts that http(s):// may fetch from; else refused
  contexts=FOLDER        keeps what was watched (.cache/vxl/contexts, null)
  memory_mib=2048        of what was watched, in memory; disk_mib=16384
  max_mib=128            of one video; max_seconds=14400 max_frames=10000
  max_media=16           videos and images of a request
  max_new_tokens=4096    longest answer
  request_seconds=600    of the model's time; fetch_seconds=30 to fetch
  queue=64               requests at once; more are refused (429)
  batch=8                questions on one video that are answered together
  examples=FOLDER        videos that the page offers; page=false: no page
  upload_mib=1024        of videos that were dropped on the page

The model is chosen as for `vxl ask`: run=, checkpoint=, weights=, model=,
device=, and changes such as kv=snapkv and video.max_frames=64.

"""


def run_serve(words: Words) -> None:
    """Serves a model until it is interrupted.

    Args:
        words: A run's name, or `run=`, `weights=` or `model=` and other choices as in training; the settings
            of `ServeConfig`.

    Raises:
        ConfigError: A word is missing or means nothing, or there is no such decoder or card here.
        CheckpointError: The run has no weights.
    """
    words.take("debug")
    root = words.runs()
    config = _config(words)

    from vxl.serve.listen import listen  # late: torch takes 2 s, and --help needs none
    from vxl.video.decode import open_video

    loaded = loaded_by(words, root, (*OF_MODEL, *SETTINGS))
    video = loaded.config.video
    open_video(b"", decoder=video.decoder, device=video.device)  # refuses at the start what is not here
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
