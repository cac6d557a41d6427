"""W&B as it is, for the few tests that really start it."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def wandb_itself() -> Iterator[None]:
    """W&B's process anew: it reads server, key and mode once, and what runs before or behind has others."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()
