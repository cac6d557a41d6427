"""Sequences longer than the language model was trained for are refused, but for `llm.extrapolate=true`."""

from vxl.errors import DataError


def refuse_longer(tokens: int, most: int | None, frames: int, asked: int = 0) -> None:
    """Raises where a sequence goes on behind the last position that may be used.

    Args:
        tokens: How long it is, or how far its positions reach.
        most: How long it may be; None for any length.
        frames: Frames that are in it.
        asked: Tokens of it that are the question's, which fewer frames do not shorten.

    Raises:
        DataError: It is longer.
    """
    if most is None or tokens <= most:
        return
    fit = frames * max(most - asked, 0) // max(tokens - asked, 1)
    fewer = f"  {fit} of the {frames} frames fit:  video.max_frames={fit}\n" if fit else ""
    raise DataError(
        f"{tokens} tokens to read, but the language model was trained for {most}.\n{fewer}"
        "  a bounded cache:  kv=streaming\n"
        "  all of it, at positions that it was not trained for:  llm.extrapolate=true"
    )
