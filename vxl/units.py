"""Numbers for people: sizes, shares and ages."""


def human_size(size: float) -> str:
    """Bytes as `3.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def percent(share: float) -> str:
    """A share as `53.1 %`."""
    return f"{100 * share:.1f} %"


def human_age(seconds: float) -> str:
    """Seconds as `40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, length, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
