"""What is a fault of a disk or server, what is an answer, and how the first is waited for."""

import errno
import io
import logging
import urllib.error
from http.client import IncompleteRead
from pathlib import Path

import aiohttp
import av
import pytest
from PIL import UnidentifiedImageError

from vxl.errors import DataError, LostError
from vxl.faults import is_fault
from vxl.patience import (
    PatientFile,
    is_there,
    open_patiently,
    patience_of,
    patiently,
    pauses_of,
)


class Response:
    def __init__(self, status: int) -> None:
        self.status_code = status


class HubError(OSError):
    """As huggingface_hub and requests raise them."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} from the hub")
        self.response = Response(status)


class BotoError(Exception):
    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def of_http(status: int) -> aiohttp.ClientResponseError:
    return aiohttp.ClientResponseError(None, (), status=status)  # ty: ignore


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


FAULTS = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.ENOTCONN, "Transport endpoint is not connected"),
    OSError(errno.EMFILE, "Too many open files"),
    OSError(-3, "Temporary failure in name resolution"),
    ConnectionResetError("reset"),
    TimeoutError(),
    of_http(500),
    of_http(503),
    of_http(429),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError("payload is not completed"),
    urllib.error.URLError("no route"),
    IncompleteRead(b"half"),
    HubError(502),
    BotoError(503),
    caused(FileNotFoundError("http://x"), of_http(503)),  # as fsspec says that a server did not answer
    caused(DataError("x can't be read"), OSError(errno.EIO, "Input/output error")),
]
ANSWERS = [
    FileNotFoundError(errno.ENOENT, "No such file"),
    FileNotFoundError("http://x"),
    PermissionError(errno.EACCES, "Permission denied"),
    IsADirectoryError(errno.EISDIR, "Is a directory"),
    OSError(errno.ENAMETOOLONG, "File name too long"),
    OSError("image file is truncated"),
    UnidentifiedImageError("cannot identify image file"),
    ValueError("embedded null byte"),
    of_http(404),
    of_http(403),
    HubError(401),
    BotoError(404),
    aiohttp.InvalidURL("x"),
    av.error.OSError(errno.EIO, "FFmpeg's word for a file that ends too early", "x.avi"),
    caused(FileNotFoundError("http://x"), of_http(404)),
    DataError("frame 3 is wanted"),
    caused(LostError("waited"), OSError(errno.EIO, "Input/output error")),
]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_faults(error: Exception) -> None:
    assert is_fault(error)


@pytest.mark.parametrize("error", ANSWERS, ids=repr)
def test_answers(error: Exception) -> None:
    assert not is_fault(error)


def failing(times: int, error: Exception):
    left = [times]

    def read() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "data"

    return read


def test_a_fault_is_waited_for_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with pauses_of(0.0), caplog.at_level(logging.WARNING):
        assert patiently(failing(5, OSError(errno.EIO, "Input/output error")), "a.tar") == "data"
    assert caplog.text.count("a.tar can't be read (Input/output error): waiting for it") == 5
    assert "a.tar is read again, after 0 s" in caplog.text


def test_an_answer_is_not_waited_for() -> None:
    with pytest.raises(FileNotFoundError):
        patiently(failing(1, FileNotFoundError("x")), "x")


def test_patience_ends_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    slept: list[float] = []
    monkeypatch.setattr("vxl.patience.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("vxl.patience.time.sleep", sleep)
    with pauses_of(1.0, limit=600.0), pytest.raises(LostError) as lost:
        patiently(failing(10**6, HubError(503)), "https://x/a.tar")
    assert sum(slept) == pytest.approx(600.0)
    text = str(lost.value)
    assert text.startswith("https://x/a.tar can't be read: HTTP 503 Service Unavailable.")
    assert "did not answer for 10 min; to wait longer:  data.patience=3600" in text
    assert "the same command goes on" in text
    assert lost.value.status == 1  # tried again on a cluster


def test_a_run_s_patience_ends_with_it() -> None:
    with pauses_of(0.001), patience_of(0.002, "patience"), pytest.raises(LostError, match=r"  patience=3600"):
        patiently(failing(10**6, TimeoutError()), "x")
    with pauses_of(0.001, limit=0.002), pytest.raises(LostError, match=r"data\.patience=3600"):
        patiently(failing(10**6, TimeoutError()), "x")


def test_pauses_grow_to_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("vxl.patience.time.sleep", slept.append)
    patiently(failing(7, TimeoutError()), "x")
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


class Flaky(io.BytesIO):
    """Every second read fails, once a place."""

    opened = 0
    failed: set[int]

    def __init__(self, data: bytes, failed: set[int]) -> None:
        super().__init__(data)
        self.failed = failed
        Flaky.opened += 1

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() not in self.failed:
            self.failed.add(self.tell())
            super().read(7)  # a read that fails leaves the place anywhere
            raise OSError(errno.ESTALE, "Stale file handle")
        return super().read(size)


def test_a_file_gives_what_it_holds_whatever_fails_between() -> None:
    data, failed = bytes(range(256)) * 5, set()
    with pauses_of(0.0):
        file = io.BufferedReader(PatientFile(lambda: Flaky(data, failed), "x"), buffer_size=100)
        assert file.read(50) == data[:50]
        assert (file.seek(-30, io.SEEK_END), file.read()) == (len(data) - 30, data[-30:])
        assert (file.seek(500), file.read(300)) == (500, data[500:800])
        assert (file.seek(len(data) + 9), file.read()) == (len(data) + 9, b"")
    assert Flaky.opened > 5


def test_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abcdef")
    (tmp_path / "empty").touch()
    with open_patiently(tmp_path / "f") as file:
        assert (file.name, file.seek(-2, io.SEEK_END), file.read()) == (str(tmp_path / "f"), 4, b"ef")
    with open_patiently(tmp_path / "empty") as file:
        assert (file.seek(-1, io.SEEK_END), file.read()) == (0, b"")
    with pytest.raises(FileNotFoundError):
        open_patiently(tmp_path / "g")
    assert is_there(tmp_path)
    assert not is_there(tmp_path / "g")
    assert not is_there("a\0b")
