"""Videos for these tests, written once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.video.numbered import KINDS, write


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The path of a numbered video of a kind (120 frames of 64 x 96)."""
    folder = tmp_path_factory.mktemp("numbered")

    def make(kind: str) -> Path:
        path = folder / kind
        return path if path.is_file() else write(path, **KINDS[kind])

    return make
