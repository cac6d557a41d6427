"""Settings of the whole suite: no hub, no W&B account, few threads, and what is imported is no garbage."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell makes what it starts in the background deaf to Ctrl-C, and what that starts; tests send some.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and no test is timed.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# What is imported stays: half a million objects, which each full collection would walk through again. A third
# of the time of the tests of training went into that.
gc.disable()


# Files that take a minute or more, the longest first: files are spread over processes whole, and of one that
# is begun last the others would wait for the end.
LONGEST = (
    "cluster/test_slurm.py",
    "acceptance/test_stories.py",
    "strategies/test_strategies.py",
    "strategies/test_sharing.py",
    "test_tutorials.py",
    "test_site.py",
    "checkpoint/fetch/test_packages.py",
    "kv/test_first_seen.py",
    "acceptance/test_kills.py",
    "cli/test_planted_files.py",
    "acceptance/test_faults.py",
    "experiments/test_studies.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Leaves what the test files have imported out of garbage collection, and begins it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def clips() -> Path:
    """The embedded clips."""
    return Path(__file__).parents[1] / "examples" / "clips"


@pytest.fixture
def wandb_itself() -> Iterator[None]:
    """W&B's process anew: it reads server, key and mode once, and what runs before or behind has others."""
    import wandb

    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture(autouse=True)
def _plugins_of_one_test() -> Iterator[None]:
    """A plug-in that a test loads is none of the next one's: its options are not listed, and not allowed."""
    before = [value.copy() for value in _plugins()]
    yield
    for value, old in zip(_plugins(), before, strict=False):
        value.clear()
        value.extend(old) if isinstance(value, list) else value.update(old)


def _plugins() -> list[list[Path] | set[str]]:
    """What `load_plugins` adds to, where a test imports it: most do not, and should not wait for it."""
    module = sys.modules.get("vxl.option.plugins")
    return [] if module is None else [module.FOLDERS, module.ALLOWED]
