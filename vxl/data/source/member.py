"""What is known of a member of a shard before it is decoded: its text, and what its media's headers say."""

from collections.abc import Callable, Iterable
from typing import Any

from vxl.data.sample import EXAMPLE, TEXTS, Media
from vxl.data.source.headers import describe_media
from vxl.data.source.named import media_of_item
from vxl.data.source.texts import decoded, in_order_of_text, read_text
from vxl.errors import DataError
from vxl.video.endings import IMAGE_ENDINGS, VIDEO_ENDINGS, media_kind


def describe_member(
    shard: str, key: str, suffixes: Iterable[str], read: Callable[[str], Media]
) -> dict[str, Any]:
    """What is known of a member: {key, text, visuals, bad: why it can't be used, or None}.

    Args:
        shard: Where it is, for messages.
        key: Its name.
        suffixes: Of its files.
        read: Gives the content of a suffix.
    """
    entry: dict[str, Any] = {"key": key, "text": {}, "visuals": [], "bad": None}
    try:
        entry["text"] = _text(shard, key, set(suffixes), read)
        unknown = []
        for suffix in sorted(suffixes, key=_by_number):
            kind, name = media_kind(f".{suffix}"), f"{key}.{suffix}"
            if kind is not None:
                header = describe_media(read(suffix), kind, f"{shard}, member '{name}'")
                entry["visuals"].append({"kind": kind, "name": name, **header})
            elif suffix.lower() not in ("json", "txt"):
                unknown.append(name)
        _refuse_lacking(entry, f"{shard}, member '{key}'")
        if unknown and not entry["visuals"]:
            raise DataError(
                f"{shard}, member '{unknown[0]}' can't be shown, and '{key}' shows nothing else.\n"
                f"  videos: {', '.join(VIDEO_ENDINGS[:6])}, ...; "
                f"images: {', '.join(IMAGE_ENDINGS[:5])}, ...\n"
                "  rename it, or take it out"
            )
        entry["visuals"] = in_order_of_text(entry["visuals"], entry["text"])
    except DataError as error:
        entry["bad"] = str(error)
    return entry


def _refuse_lacking(entry: dict[str, Any], where: str) -> None:
    """Raises DataError where the JSON names more videos and images than stand beside it."""
    if not any(entry["text"].get(name) for name in TEXTS):
        return
    try:
        names = [path for path, _ in media_of_item(entry["text"])] if not entry["visuals"] else []
        problem = f"its JSON names {names[0]}, and no video or image stands beside it" if names else ""
    except DataError as error:
        problem = str(error).partition(".\n")[0]
    if problem:
        raise DataError(
            f"{where}: {problem}.\n"
            "  write the file beside the JSON, under the same name; or take the key out for text alone"
        )


def _text(shard: str, key: str, suffixes: set[str], read: Callable[[str], Media]) -> dict[str, Any]:
    """The text of a member: KEY.json, and KEY.txt as a caption where the JSON has no text."""

    def words(suffix: str) -> str:
        content = read(suffix)
        assert not isinstance(content, str), "only media are read from paths"
        data = content if isinstance(content, bytes) else content.read()
        return decoded(data, f"{shard}, member '{key}.{suffix}'")

    text: Any = {}
    if "json" in suffixes:
        text = read_text(words("json"), f"{shard}, member '{key}.json'")
        if not isinstance(text, dict):
            got = type(text).__name__
            raise DataError(
                f"{shard}, member '{key}.json' is a {got}, not an object.\n  write e.g.  {EXAMPLE}"
            )
    if "txt" in suffixes and not any(text.get(name) for name in TEXTS):
        text = {**text, "caption": words("txt").strip()}
    if not suffixes & {"json", "txt"}:
        others = [suffix for suffix in sorted(suffixes) if suffix.endswith((".json", ".txt"))]
        beside = f" (its name ends before the first dot; {key}.{others[0]} is beside it)" if others else ""
        raise DataError(f"{shard}, member '{key}' has no text.\n  add {key}.json or {key}.txt{beside}")
    return text


def _by_number(suffix: str) -> tuple[int, str]:
    """Sorts 0.jpg, 2.jpg, 10.jpg, and plain suffixes first."""
    first = suffix.partition(".")[0]
    return (int(first) if first.isdigit() else -1), suffix
