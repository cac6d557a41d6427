"""The processes that tests of strategies run in."""

from collections.abc import Iterator

import pytest

from tests.strategies.pool import Pool


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Four of them, of which a test takes as many as it needs."""
    made = Pool(4)
    yield made
    made.close()
