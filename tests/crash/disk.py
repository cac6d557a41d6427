"""A disk of one's own whose power can be cut: an ext4 in a file, behind a loop device."""

import contextlib
import filecmp
import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

MEGABYTES = 48
# Without it ext4 writes a file out when it is renamed over another, which forgives a missing fsync.
OPTIONS = "loop,noauto_da_alloc"


def why_not() -> str | None:
    """Why no disk can be made here; None where it can."""
    if os.geteuid() != 0:
        return "mounting takes root"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount", "losetup") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is missing"
    found = subprocess.run(["losetup", "-f"], capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else f"no loop device: {found.stderr.strip()}"


def make(image: Path) -> None:
    """Makes an empty disk."""
    with image.open("wb") as file:
        file.truncate(MEGABYTES << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Generator[Path]:
    """Mounts a disk; of one that was cut the journal is replayed, as after a power cut."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-o", OPTIONS, str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def cut(image: Path, copy: Path) -> None:
    """Copies what has reached a disk by now.

    Call it while whoever writes is stopped; the system may still be writing behind, so the copy is made until
    it is the disk of one moment.
    """
    for _ in range(20):
        shutil.copyfile(image, copy)
        if filecmp.cmp(image, copy, shallow=False):
            return
    raise RuntimeError(f"{image} did not stand still")
