"""Which errors say that a disk or server did not answer, or that a disk is full; not that content is bad."""

import errno
import os
import re
from http import HTTPStatus

from vxl.errors import LostError, VxlError

# What a system says of a name or a request, and would say again: these are answers, and not faults.
_ANSWERS = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EINVAL, errno.EBADF, errno.EEXIST, errno.ENOTEMPTY, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EFBIG, errno.ESPIPE, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EILSEQ, errno.EOVERFLOW),
}  # fmt: skip
# The packages behind URLs. What they raise says that nothing came, unless it names an HTTP status.
_NETWORK = {
    *("aiohttp", "aiobotocore", "azure", "botocore", "gcsfs", "google", "http", "httpcore", "httpx"),
    *("huggingface_hub", "paramiko", "requests", "ssl", "urllib", "urllib3"),
}  # fmt: skip
_OF_RUST = re.compile(r"\(os error (\d+)\)")
# HTTP statuses below 500 that a server takes back: time-out, too early, too many requests.
_LATER = {408, 425, 429}


def is_fault(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that a disk or server did not answer as it should.

    False where it is about content (a damaged file) or a name (no such file).
    """
    while error is not None and not isinstance(error, LostError):
        package = type(error).__module__.partition(".")[0]
        if package == "av":  # FFmpeg reads through our files: what it says is about what they hold
            return False
        status = _http_status(error)
        if status is not None:
            return status >= 500 or status in _LATER
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno not in _ANSWERS
        named = FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError
        if isinstance(error, named) and error.__cause__ is None:
            return False
        if isinstance(error, ConnectionError | TimeoutError):
            return True
        if package in _NETWORK and not isinstance(error, ValueError):  # ValueError: no such URL
            return True
        error = error.__cause__
    return False


def refused_by_disk(error: BaseException) -> OSError | None:
    """The system's error where a disk is full, or read-only; None for others.

    What is written in Rust (safetensors, tokenizers) raises errors of its own that quote the system's number.
    """
    number = error.errno if isinstance(error, OSError) else None
    quoted = _OF_RUST.search(str(error))
    if not isinstance(error, OSError) and quoted:
        number = int(quoted[1])
    if number not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    return error if isinstance(error, OSError) else OSError(number, os.strerror(number))


def cause_of(error: BaseException) -> str:
    """What the disk or server said, without what was made of it on the way."""
    inner = error
    while inner.__cause__ is not None and isinstance(inner, VxlError | FileNotFoundError):
        inner = inner.__cause__
    status = _http_status(inner)
    if status is not None:
        phrase = next((known.phrase for known in HTTPStatus if known == status), "")
        return f"HTTP {status} {phrase}".strip()
    text = (inner.strerror if isinstance(inner, OSError) else None) or str(inner) or type(inner).__name__
    return " ".join(text.split())[:200]


def _http_status(error: BaseException) -> int | None:
    """The HTTP status that an error names, however its package spells it."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # botocore's
        answer = answer.get("ResponseMetadata", {})
        status = answer.get("HTTPStatusCode") if isinstance(answer, dict) else None
    else:
        named = (getattr(error, name, None) for name in ("status", "status_code", "code"))
        status = next((one for one in named if one is not None), getattr(answer, "status_code", None))
    if isinstance(status, str) and status.isdigit():
        status = int(status)
    return status if isinstance(status, int) and 100 <= status < 600 else None
