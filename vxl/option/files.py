"""Where what vxl brings beside its code lies: the config files (plug-ins have some too), clips, scripts."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
ROOT = _PACKAGE / "share" if (_PACKAGE / "share").is_dir() else _PACKAGE.parent
"""The folder with conf/, examples/, train.py and evaluate.py: the checkout, or where a wheel carries them."""
CONF = ROOT / "conf"
CLIPS = ROOT / "examples" / "clips"
"""The embedded clips."""
_NOTES = ("Source:", "Licence:", "Score:")
FOLDERS = [CONF]
"""Searched in this order; `vxl.option.plugins.load_plugins` adds to it."""


def option_files(group: str) -> dict[str, Path]:
    """The options of a config group, `conf/GROUP/NAME.yaml`, by name; the first folder that has one counts.

    Example:
        >>> option_files("kv")["snapkv"].name
        'snapkv.yaml'
        >>> option_files("no_such_group")
        {}
    """
    files_by_name: dict[str, Path] = {}
    for folder in FOLDERS:
        for file in sorted((folder / group).glob("*.yaml")):
            files_by_name.setdefault(file.stem, file)
    return dict(sorted(files_by_name.items()))


def leading_comment(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """What a config file's leading comment says: (its meaning, the command that it shows, notes)."""
    meaning, command, notes = [], "", []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").rstrip()
        if text.startswith("@package"):
            continue
        if text.startswith("python ") or text.startswith("vxl "):
            command = command or text
        elif text.startswith(_NOTES):
            notes.append(text)
        elif text:
            meaning.append(text)
    return " ".join(meaning), command, tuple(notes)
