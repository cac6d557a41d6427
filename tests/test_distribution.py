"""What is shipped: a wheel that works outside of a checkout, an image's recipe, a citation."""

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from vxl.option.extras import what_to_install
from vxl.option.files import CLIPS, CONF, ROOT

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def test_a_checkout_uses_its_own_files() -> None:
    assert (REPOSITORY, REPOSITORY / "conf", REPOSITORY / "examples" / "clips") == (ROOT, CONF, CLIPS)


def test_what_is_missing_is_named_with_its_extra() -> None:
    for package, extra in (
        ("lightning.pytorch", "train"),
        ("prometheus_client", "serve"),
        ("submitit", "slurm"),
    ):
        message = what_to_install(ModuleNotFoundError(name=package))
        assert message is not None
        assert message.endswith(f"pip install 'vxl[{extra}]'")
    assert what_to_install(ModuleNotFoundError(name="no_such_package")) is None


def test_the_version_is_said_once() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) of the Dockerfile, continued lines joined."""
    text = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_image_copies_what_there_is_and_installs_what_is_declared() -> None:
    found = instructions()
    assert found[0][0] == "FROM"
    assert {name for name, _ in found} <= {"FROM", "RUN", "ENV", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}
    copied = [word for name, words in found if name == "COPY" for word in shlex.split(words)[:-1]]
    assert all((REPOSITORY / name).exists() for name in copied)
    assert {"vxl", "conf", "examples/clips", "train.py", "evaluate.py", "setup.py"} <= set(copied)
    (extras,) = re.findall(r"/src\[([\w,-]+)\]", (REPOSITORY / "Dockerfile").read_text())
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    (torch,) = re.findall(r"^TORCH \?= (\S+)$", (REPOSITORY / "Makefile").read_text(), re.M)
    assert any(torch in words for name, words in found if name == "RUN")
    assert json.loads(dict(found)["ENTRYPOINT"]) == ["vxl"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A source distribution of what git knows, and the wheel that is built from it: {kind: file}."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(out)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, timeout=300, capture_output=True)
    (sdist,) = out.glob("vxl-*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(sdist)], check=True, timeout=300)
    (wheel,) = out.glob("vxl-*.whl")
    return {"sdist": sdist, "wheel": wheel}


# What training, serving and clusters need, beside what `pip install vxl` brings (torch brings jinja2).
ONLY_EXTRAS = (
    "lightning", "webdataset", "wandb", "torchmetrics", "matplotlib", "scipy", "starlette", "uvicorn",
    "prometheus_client", "submitit", "pandas", "lmms_eval",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_and_asks_with_its_own_dependencies(
    built: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    bare = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(bare, check=True, timeout=120)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # they are installed already
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-installed",
    ]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([*pip, str(built[kind])], check=True, timeout=300, env=clean, cwd=tmp_path)
    assert (site / "vxl" / "share" / "conf" / "train.yaml").is_file()
    # None in sys.modules: importing it fails as if it were not installed.
    (site / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({ONLY_EXTRAS!r}))\n"
    )

    def vxl(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [str(tmp_path / "venv" / "bin" / "vxl"), *words],
            cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert f"vxl {PROJECT['version']}" in vxl("--version")
    assert "serve" in vxl("--help")
    assert "compressor=dts" in vxl("explain", "compressor")
    video = str(site / "vxl" / "share" / "examples" / "clips" / "city.mp4")
    assert "8 visual tokens" in vxl("ask", "model=tiny", "weights=random", video, "What is shown?")
    assert "pip install 'vxl[train]'" in vxl("train", "model=tiny", status=2)
    assert "pip install 'vxl[serve]'" in vxl("serve", "model=tiny", "weights=random", status=2)


@pytest.mark.slow
def test_the_wheel_trains_and_evaluates_outside_of_a_checkout(built: dict[str, Path], tmp_path: Path) -> None:
    zipfile.ZipFile(built["wheel"]).extractall(tmp_path / "installed")
    assert (tmp_path / "installed" / "vxl" / "share" / "conf" / "train.yaml").is_file()
    assert not (tmp_path / "installed" / "tests").exists()
    (tmp_path / "work").mkdir()

    def vxl(*words: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "COLUMNS": "120"}
        done = subprocess.run(
            [sys.executable, "-m", "vxl.cli", *words],
            cwd=tmp_path / "work", env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    quick = [
        "logger=csv",
        "trainer.max_steps=2",
        "data.drawn=2",
        "data.held_out=4",
        "trainer.val_every=0",
        "data.workers=0",
    ]
    assert "trained" in vxl("train", "model=tiny", "name=a", *quick)
    assert (tmp_path / "work" / "runs" / "a" / "RESULT.json").is_file()
    assert "clips" in vxl("evaluate", "run=a", "benchmark=clips", "limit=4")
    assert "2 of 2" in vxl("train", "model=tiny", "name=b", "seed=0,1", *quick)
