"""Memory that a device has left, and a refusal before it is filled."""

from pathlib import Path

import torch

from vxl.errors import ConfigError
from vxl.units import human_size

_CGROUP = Path("/sys/fs/cgroup")


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where the system does not say.

    On the CPU: what the kernel counts as available, and no more than this process's control group may have,
    since past either a process is killed without a word.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    bytes_free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        bytes_free = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdigit():
            bytes_free.append(max(0, int(limit) - int((_CGROUP / "memory.current").read_text())))
    except (OSError, ValueError):
        pass
    return min(bytes_free, default=None)


def refuse_without_memory(needed: int, device: torch.device, what: str, remedies: str) -> None:
    """Refuses what does not fit into a device's free memory, before anything is allocated.

    Args:
        needed: Bytes.
        device: Where they would be.
        what: What needs them, as the subject of a sentence.
        remedies: What to type instead, as indented lines.

    Raises:
        ConfigError: There are fewer bytes; the message names both numbers.
    """
    free = free_memory(device)
    if free is None or needed <= free:
        return
    place = "of this machine's memory" if device.type == "cpu" else f"of {device}'s memory"
    raise ConfigError(
        f"{what} needs {human_size(needed)}, and {human_size(free)} {place} are free.\n{remedies}"
    )
