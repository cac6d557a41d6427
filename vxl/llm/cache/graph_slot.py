"""Where a cache holds the CUDA graph that decodes behind it."""

import threading
from typing import Any


class GraphSlot:
    """The captured step of decoding behind one cache (`vxl.llm.replay.Tail`); freed with the cache.

    One question at a time: whoever decodes with the graph holds the lock, and others decode without a graph.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tail: Any = None
