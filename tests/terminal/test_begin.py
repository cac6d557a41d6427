"""What libraries print about themselves stays off the screen."""

import logging
import os

import pytest

from vxl.terminal.begin import LOGGERS, UNHEARD, quiet_libraries


def test_libraries_are_quiet_and_what_the_environment_says_stands(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = UNHEARD
    monkeypatch.setenv(first, "0")
    monkeypatch.delenv(second, raising=False)
    before = [logging.getLogger(name).level for name in LOGGERS]
    try:
        quiet_libraries()
        assert (os.environ[first], os.environ[second]) == ("0", UNHEARD[second])
        logging.getLogger(f"{LOGGERS[0]}.kernels").warning("Failed to load")
        logging.getLogger(LOGGERS[0]).error("broken")
        assert [record.message for record in caplog.records] == ["broken"]
    finally:
        for name, level in zip(LOGGERS, before, strict=True):
            logging.getLogger(name).setLevel(level)
