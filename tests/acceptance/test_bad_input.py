"""What bad input gets: one row a case, with the exact text on the user's screen.

Every row is a command as it is typed, run in this process. The process and the machine are written as PID and
HOST, the working directory as FOLDER.
"""

import dataclasses
import errno
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch.distributed.checkpoint.filesystem import FileSystem

import train
from tests.data import media
from vxl.checkpoint.step_folder import choose_step
from vxl.compressor.dts import DTSConfig
from vxl.config.compose import compose
from vxl.data.write.shards import TarMember, write_shards
from vxl.errors import VxlError
from vxl.option.files import CONF

ROOT = Path(__file__).parents[2]
CITY = ROOT / "examples/clips/city.mp4"
DTS = ", ".join(field.name for field in dataclasses.fields(DTSConfig) if field.name != "_target_")
VISION = ", ".join(sorted(file.stem for file in (ROOT / "conf/vision").glob("*.yaml")))
FAST = "name=x logger=csv trainer=cpu data.workers=0 data.batch=4 data.bucket=8 trainer.max_steps=3"
SHARDS = f"{FAST} data=shards data.train=[shards/*.tar]"

Patch = pytest.MonkeyPatch


def nothing(folder: Path, patch: Patch) -> None:
    """The command line alone is the bad input."""


@dataclass(frozen=True)
class Case:
    """A command and what comes of it."""

    words: str
    """What is typed after `python train.py`."""
    error: str
    """All of standard error."""
    status: int = 2
    prepare: Callable[[Path, Patch], None] = nothing
    """Puts the bad input into the working directory, or injects a failure."""
    output: str = ""
    """Lines of standard output."""


def shard(folder: Path, *members: TarMember) -> Path:
    return write_shards(members, folder / "shards", "s-{:03d}.tar")[0]


def truncated_video(folder: Path, patch: Patch) -> None:
    cut = CITY.read_bytes()[:100_000]
    shard(
        folder,
        *(
            TarMember(f"k{n}", {"mp4": cut if n == 2 else media.video(), "json": media.talk()})
            for n in range(4)
        ),
    )


def cut_tar(folder: Path, patch: Patch) -> None:
    file = media.write(folder / "shards", 12)[0]
    os.truncate(file, 6000)


def long_caption(folder: Path, patch: Patch) -> None:
    shard(
        folder,
        *(TarMember(f"k{n}", {"json": media.talk("word " * (600 if n == 2 else 5))}) for n in range(4)),
    )


def whole_shards(folder: Path, patch: Patch) -> None:
    media.write(folder / "shards", 8)


def no_conversations(folder: Path, patch: Patch) -> None:
    (folder / "city.mp4").write_bytes(CITY.read_bytes())
    media.write_json(folder / "mine.json", [{"id": "1", "video": "city.mp4", "text": "A city."}])


def placeholders_for_two(folder: Path, patch: Patch) -> None:
    (folder / "city.mp4").write_bytes(CITY.read_bytes())
    turns = [
        {"from": "human", "value": "<image> and <image>: which?"},
        {"from": "gpt", "value": "The first."},
    ]
    media.write_json(folder / "mine.json", [{"id": "1", "video": "city.mp4", "conversations": turns}])


def in_use(folder: Path, patch: Patch) -> None:
    """Another process, which lives, is at work in the run."""
    owner = {"host": socket.gethostname(), "pid": os.getppid(), "started": None, "job": None}
    (folder / "runs/x").mkdir(parents=True)
    (folder / "runs/x/.lock").write_text(json.dumps(owner))


def read_only_run(folder: Path, patch: Patch) -> None:
    mkdir = Path.mkdir

    def refuse(path: Path, *arguments: object, **keywords: object) -> None:
        if path.parts[:1] == ("runs",):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *arguments, **keywords)  # type: ignore[arg-type]

    patch.setattr(Path, "mkdir", refuse)


def fails_at_step_2(number: int) -> Callable[[Path, Patch], None]:
    """A disk that gives out while the second checkpoint is written."""

    def prepare(folder: Path, patch: Patch) -> None:
        whole_shards(folder, patch)
        create = FileSystem.create_stream

        def fail(self: FileSystem, path: str | os.PathLike, mode: str) -> object:
            if mode == "wb" and "step-000002" in str(path):
                raise OSError(number, os.strerror(number), str(path))
            return create(self, path, mode)

        patch.setattr(FileSystem, "create_stream", fail)

    return prepare


CASES = {
    "a typo in a key": Case(
        "compressor.raito=8",
        "config error: compressor.raito=8: compressor.raito is not a key.\n"
        f"  did you mean compressor.ratio?\n  valid keys of compressor: {DTS}",
    ),
    "a typo behind +": Case(
        "+compressor.raito=8",
        "config error: compressor.raito is not a key.\n"
        f"  did you mean compressor.ratio?\n  valid keys: {DTS}",
    ),
    "a typo behind ++": Case(
        "++compressor.raito=8",
        "config error: compressor.raito is not a key.\n"
        f"  did you mean compressor.ratio?\n  valid keys: {DTS}",
    ),
    "a wrong type": Case(
        "compressor.ratio=abc",
        "config error: compressor.ratio=abc has the wrong type (text).\n"
        "  expected: int\n  e.g.  compressor.ratio=16",
    ),
    "an option that does not exist": Case(
        "vision=siglipp",
        "config error: vision=siglipp: there is no option siglipp in vision.\n"
        f"  did you mean vision=siglip_so400m?\n  options of vision: {VISION}",
    ),
    "a ratio that does not fit": Case(
        "compressor.ratio=6",
        "config error: compressor.ratio=6 does not fit a grid of 4 x 4 patches.\n"
        "  ratios that fit: 1, 2, 4, 8, 16, 32, 64, 128\n  e.g.  compressor.ratio=4",
    ),
    "zero frames": Case(
        "video.max_frames=0", "config error: video.max_frames=0 asks for no frame.\n  allowed: 1 or more"
    ),
    "a sequence too short for the video": Case(
        "data.max_tokens=8",
        "config error: data.max_tokens=8 is too short for a video of video.max_frames=8:\n"
        "  2 groups x 4 = 8 visual.\n"
        "  allowed: data.max_tokens above 8 plus the text, or at most 4 frames\n  e.g.  data.max_tokens=512",
    ),
    "more devices than the strategy uses": Case(
        "trainer.devices=2",
        "config error: strategy=single uses one device; got trainer.devices=2 trainer.num_nodes=1.\n"
        "  allowed: trainer.devices=1 trainer.num_nodes=1\n"
        "  e.g.  strategy=ddp trainer.devices=2    (a copy of the model on each)\n"
        "        strategy=fsdp2 trainer.devices=2  (one model spread over all)",
    ),
    "a strategy that needs more devices": Case(
        "strategy=fsdp2",
        "config error: strategy=fsdp2 needs several devices; got trainer.devices=1 trainer.num_nodes=1.\n"
        "  allowed: 2 or more in all\n  e.g.  strategy=fsdp2 trainer.devices=2\n"
        "        strategy=single             (on one)",
    ),
    "packed rows with summary tokens": Case(
        "kv=vst data.packing=true",
        "config error: data.packing=true does not go with kv=vst: windows of packed samples would share a "
        "memory.\n  allowed: data.packing=false, or another kv\n  e.g.  data.packing=false",
    ),
    "a truncated mp4 among others": Case(
        f"{SHARDS} data.max_bad_fraction=0.5",
        "",
        0,
        truncated_video,
        "1 of the 4 samples of shards/s-000.tar can't be used, e.g. shards/s-000.tar, member 'k2.mp4': "
        "truncated: its header lists 182 frames, the file ends after 49. got: 100,000 bytes; copy the file "
        "again, or leave it out\n"
        "masked a bad sample (sample): shards/s-000.tar, member 'k2.mp4': "
        "truncated: its header lists 182 frames, the file ends after 49. got: 100,000 bytes; copy the file "
        "again, or leave it out",
    ),
    "too many truncated mp4s": Case(
        SHARDS,
        "data error: 2 of 4 samples could not be used; data.max_bad_fraction=0.01 is exceeded.\n"
        "  the last one: shards/s-000.tar, member 'k2.mp4': truncated: its header lists 182 frames, the file "
        "ends after 49. got: 100,000 bytes; copy the file again, or leave it out\n"
        "  see all of them:  vxl shards lint shards/s-000.tar\n"
        "  or allow more:    data.max_bad_fraction=0.1",
        prepare=truncated_video,
    ),
    "a tar cut in the middle": Case(
        SHARDS,
        "data error: shards/s-0-000.tar is cut off: it has 6000 bytes and breaks at byte 6000; "
        "the last whole member is 's0004'.\n"
        "  copy it again, or use its 5 whole members:\n"
        "    vxl shards index --keep-good shards/s-0-000.tar",
        prepare=cut_tar,
    ),
    "a shard list that matches nothing": Case(
        SHARDS,
        "data error: the shards 'shards/*.tar' match nothing.\n"
        "  looked for FOLDER/shards/*.tar\n  FOLDER holds runs",
    ),
    "too few shards for an un-indexed pipe": Case(
        f"{FAST} data=shards 'data.train=[\"pipe:cat one.tar\"]' data.workers=2",
        "data error: too few un-indexed shards: 1 for 2 readers (ranks 1 x workers 2).\n"
        "  every reader needs a shard of its own:  data.workers=1\n"
        "  or write at least 2 shards, or name files or URLs in the place of pipe:…",
    ),
    "a caption longer than the context": Case(
        f"{SHARDS} data.max_tokens=256 data.max_bad_fraction=0.5",
        "",
        0,
        long_caption,
        "masked a bad sample (settings): shards/s-000.tar: sample 'k2' is 625 tokens long (0 of visuals, "
        "602 to learn), but data.max_tokens=256. type  data.max_tokens=1024  or shorten it",
    ),
    "too many captions longer than the context": Case(
        f"{SHARDS} data.max_tokens=256",
        "data error: 2 of 4 samples could not be used; data.max_bad_fraction=0.01 is exceeded.\n"
        "  the last one: shards/s-000.tar: sample 'k2' is 625 tokens long (0 of visuals, 602 to learn), but "
        "data.max_tokens=256. type  data.max_tokens=1024  or shorten it\n"
        "  or allow more:    data.max_bad_fraction=0.1",
        prepare=long_caption,
    ),
    "a JSON without conversations": Case(
        f"{FAST} data=json data.json=mine.json data.videos=.",
        "data error: no sample of mine.json can be used, of 1 in all; the first:\n"
        "mine.json, sample '1': the JSON has no 'conversations', 'caption' or 'questions' with something in "
        "it.\n"
        "  got the keys: id, text, video\n"
        '  write e.g.  {"conversations": [{"role": "user", "content": "..."}, '
        '{"role": "assistant", "content": "..."}]}',
        prepare=no_conversations,
    ),
    "more placeholders than videos": Case(
        f"{FAST} data=json data.json=mine.json data.videos=.",
        "data error: no sample of mine.json can be used, of 1 in all; the first:\n"
        "mine.json, sample '1': 2 <image> in the turns, but 1 visuals (videos or images).\n"
        "  write one <image> for each visual, or none at all (they then come first);\n"
        "  visuals are KEY.mp4, KEY.jpg, ... in a tar, and the keys image(s) and video(s) of a JSON list",
        prepare=placeholders_for_two,
    ),
    "a read-only run directory": Case(
        SHARDS,
        "config error: the run directory runs/x can't be written: the file system is read-only.\n"
        "  write elsewhere:  paths.runs=FOLDER",
        prepare=read_only_run,
    ),
    "a read-only folder of a sweep": Case(
        "logger=csv +sweep=compression name=x",
        "config error: runs/x can't be written: the file system is read-only.\n"
        "  write elsewhere:  paths.runs=FOLDER",
        prepare=read_only_run,
    ),
    "two runs with the same name at once": Case(
        SHARDS,
        "config error: runs/x is in use by process PID on HOST.\n"
        "  wait for it, or choose another name:  name=NAME\n"
        "  if you know that process to be gone:  rm runs/x/.lock",
        prepare=in_use,
    ),
    "a sweep with several devices and no launcher": Case(
        "+sweep=compression trainer.devices=2",
        "config error: a sweep with trainer.devices=2 needs a launcher of 2 processes a member.\n"
        "  one device a member:        vxl train +sweep=compression trainer.devices=1\n"
        "  a SLURM job a member:       vxl train +sweep=compression trainer.devices=2 cluster=slurm\n"
        "  processes of this machine:  vxl train +sweep=compression trainer.devices=2 cluster=local",
    ),
    "a failing sweep member": Case(
        "name=mixed compressor.ratio=6,16 dry_run=true",
        "member ratio=6 is refused: compressor.ratio=6 does not fit a grid of 4 x 4 patches.\n"
        "  ratios that fit: 1, 2, 4, 8, 16, 32, 64, 128\n  e.g.  compressor.ratio=4",
        1,
        output="would run mixed\ndata: data=clips, the toy clips that come with vxl\n",
    ),
}
DISKS = {
    errno.ENOSPC: "the disk is full.\n  free space, or write elsewhere:  paths.runs=FOLDER",
    errno.EROFS: "the file system is read-only.\n  write elsewhere:  paths.runs=FOLDER",
}


class Screen:
    """A terminal in a folder: commands are typed, and what they say is read."""

    def __init__(self, folder: Path, patch: Patch, captured: pytest.CaptureFixture[str]) -> None:
        self.folder, self.patch, self.captured = folder, patch, captured
        patch.chdir(folder)
        patch.setenv("COLUMNS", "500")

    def type(self, words: str) -> tuple[int, str, str]:
        """(exit status, standard output, standard error) of `python train.py WORDS`."""
        self.patch.setattr("sys.argv", ["train.py", *shlex.split(words)])
        with pytest.raises(SystemExit) as stop:
            train.main()
        read = self.captured.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, self._plain(read.out), self._plain(read.err)

    def _plain(self, text: str) -> str:
        text = text.replace(str(self.folder), "FOLDER").replace(f"on {socket.gethostname()}.", "on HOST.")
        text = re.sub(r"process \d+ on", "process PID on", text)
        return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> Screen:
    return Screen(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", CASES)
def test_screen(name: str, screen: Screen, monkeypatch: Patch) -> None:
    case = CASES[name]
    case.prepare(screen.folder, monkeypatch)
    status, output, error = screen.type(case.words)
    assert error == case.error
    assert status == case.status
    lines = output.splitlines()
    assert [line for line in case.output.splitlines() if line not in lines] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", DISKS, ids=errno.errorcode.get)
def test_a_disk_that_gives_out_during_a_checkpoint(number: int, screen: Screen) -> None:
    """The checkpoint before survives, and the same command goes on from it once there is space."""
    words = f"{SHARDS} checkpoint.every=1"
    with pytest.MonkeyPatch.context() as patch:
        fails_at_step_2(number)(screen.folder, patch)
        status, _, error = screen.type(words)
    assert error == (
        f"checkpoint error: the checkpoint runs/x/checkpoints/step-000002 can't be written: {DISKS[number]}\n"
        "  the checkpoint of step 1 is whole; then the same command goes on from there."
    )
    assert status == 2
    assert choose_step(screen.folder / "runs/x", "last").step == 1
    status, output, error = screen.type(words)
    assert (status, error) == (0, "")
    assert "runs/x: goes on after step 1" in output.splitlines()
    assert choose_step(screen.folder / "runs/x", "last").step == 3


@pytest.mark.slow
def test_a_run_that_failed_before_its_first_step_starts_again_under_another_config(screen: Screen) -> None:
    assert screen.type(f"{SHARDS} seed=1")[0] == 2
    whole_shards(screen.folder, screen.patch)
    status, output, error = screen.type(f"{SHARDS} seed=2")
    assert (status, error) == (0, "")
    assert "runs/x: a new run" in output.splitlines()


def test_several_mistakes_come_at_once() -> None:
    with pytest.raises(VxlError) as error:
        compose("train", ["compressor.raito=8", "vision=siglipp", "trainer.max_step=3"])
    text = str(error.value)
    assert all(part in text for part in ("compressor.ratio?", "siglip_so400m?", "trainer.max_steps?"))


def test_a_mistyped_key_is_answered_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv[1:] = ['compressor.raito=8', 'vision=siglipp']\nimport train\n"
        "try:\n    train.main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "print([name for name in ('torch', 'transformers', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "did you mean compressor.ratio?" in done.stderr


def test_an_experiment_without_a_file_says_where_it_belongs(screen: Screen) -> None:
    status, _, error = screen.type("experiment=mine")
    assert status == 2
    assert error.startswith(f"config error: experiment=mine: there is no file {CONF}/experiment/mine.yaml.\n")
