"""What the header of an mkv or webm promises: a file that ends before was cut off."""

import av.container
import av.video.stream
import numpy as np

from vxl.errors import DataError


def refuse_truncated(
    pts_N: np.ndarray,
    last: int,
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    name: str,
) -> None:
    """Compares the end of the last frame with what the header promises.

    Args:
        pts_N: Time stamps of the frames, ascending; where there are none, nothing can be said.
        last: How long the last one is shown by its packet (0: not said).
        container: The file.
        stream: Its video.
        name: What to call it in messages.

    Raises:
        DataError: The file ends before.
    """
    promised = tagged_seconds(stream) if "matroska" in container.format.name else None
    if promised is None or not len(pts_N):
        return
    gaps_N = np.diff(pts_N)
    longest = max(last, int(gaps_N.max()) if len(gaps_N) else 0)
    seconds = float((int(pts_N[-1]) + longest) * (stream.time_base or 0))
    if seconds < promised - 1.0:
        raise DataError(
            f"{name}: truncated: its header promises {promised:.1f} s of video, the frames end after "
            f"{seconds:.1f} s ({len(pts_N)} frames).\n  got: {container.size:,} bytes\n"
            "  copy the file again, or leave it out"
        )


def tagged_seconds(stream: av.video.stream.VideoStream) -> float | None:
    """When the video ends by its tag, which mkv and webm have instead of a table of frames."""
    parts = stream.metadata.get("DURATION", "").split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
