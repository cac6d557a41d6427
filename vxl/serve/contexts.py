"""Watched videos, kept for the next question: in memory up to a limit, and on disk, where kills leave it."""

import logging
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from vxl.atomic import remove_leftovers
from vxl.checkpoint.load import load_context
from vxl.errors import CheckpointError
from vxl.generate import Context, save_context
from vxl.generate.loaded import LoadedModel

log = logging.getLogger(__name__)


class Contexts:
    """Contexts by key, the least recently used of which go first.

    Args:
        folder: Where they are kept; None for memory alone.
        memory_bytes: Of all in memory.
        disk_bytes: Of all on disk.
        count: Called with where each one that is asked for was found: "memory", "disk", "none", or "damaged".

    Raises:
        CheckpointError: The folder can't be made.
    """

    def __init__(
        self,
        folder: Path | None,
        memory_bytes: int,
        disk_bytes: int,
        count: Callable[[str], None] = lambda where: None,
    ) -> None:
        self.folder, self.memory_bytes, self.disk_bytes, self.count = folder, memory_bytes, disk_bytes, count
        self._held: OrderedDict[str, Context] = OrderedDict()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()  # the model's thread, the writer's, and who asks how much there is
        self._writer = ThreadPoolExecutor(1, "vxl-contexts")
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # what others watched is theirs
            remove_leftovers(folder)
            found = sorted(folder.glob("*/context.json"), key=lambda file: file.parent.stat().st_mtime)
            for file in found:
                self._sizes[file.parent.name] = _size(file.parent)
        except OSError as error:
            raise CheckpointError(
                f"contexts={folder} can't be used: {error.strerror or error}\n"
                "  name another folder, or keep what is watched in memory alone:  contexts=null"
            ) from error
        self._make_room()

    def __contains__(self, key: str) -> bool:
        """Whether something is kept under a key; from any thread."""
        with self._lock:
            return key in self._held or key in self._sizes

    def find(self, key: str, loaded: LoadedModel) -> Context | None:
        """What was watched under a key, for a model of the same watch key; None where it is not there."""
        with self._lock:
            context = self._held.get(key)
            if context is not None:
                self._held.move_to_end(key)
        if context is not None:
            self.count("memory")
            self._touch(key)
            return replace(context, model=loaded.model, most=loaded.most)
        context = self._read(key, loaded)
        self.count("none" if context is None else "disk")
        if context is not None:
            self._hold(key, context)
        return context

    def keep(self, key: str, context: Context) -> None:
        """Keeps what was watched; it is on disk a little later."""
        self._hold(key, context)
        if self.folder is not None and self.disk_bytes > 0:
            self._writer.submit(self._write, key, context)

    def flush(self) -> None:
        """Waits until all is on disk."""
        self._writer.submit(lambda: None).result()

    def close(self) -> None:
        """Waits until all is on disk, and takes no more."""
        self._writer.shutdown()

    @property
    def memory_used(self) -> int:
        """Bytes of all in memory."""
        with self._lock:
            return sum(context.cache_bytes for context in self._held.values())

    @property
    def disk_used(self) -> int:
        """Bytes of all on disk."""
        with self._lock:
            return sum(self._sizes.values())

    def _hold(self, key: str, context: Context) -> None:
        if context.cache_bytes > self.memory_bytes:
            return
        with self._lock:
            self._held[key] = context
            self._held.move_to_end(key)
            used = sum(context.cache_bytes for context in self._held.values())
            while used > self.memory_bytes:
                used -= self._held.popitem(last=False)[1].cache_bytes

    def _read(self, key: str, loaded: LoadedModel) -> Context | None:
        with self._lock:
            there = key in self._sizes
        if self.folder is None or not there:
            return None
        place = self.folder / key
        try:
            context = load_context(place, loaded)
            if context.about.get("key") != key:
                raise CheckpointError(f"{place} is of something else.")
        except CheckpointError as error:
            log.warning("%s; it is watched again", error)
            self.count("damaged")
            self._forget(key)
            return None
        self._touch(key)
        return context

    def _write(self, key: str, context: Context) -> None:
        assert self.folder is not None
        try:
            save_context(replace(context, about={**context.about, "key": key}), self.folder / key)
            with self._lock:
                self._sizes[key] = _size(self.folder / key)
                self._sizes.move_to_end(key)
            self._make_room()
        except (CheckpointError, OSError) as error:  # a full disk costs the next question time, no more
            log.warning("what was watched is not kept: %s", error)
        except Exception:
            log.exception("what was watched is not kept")

    def _touch(self, key: str) -> None:
        """Notes that it was used, for the order after a restart too."""
        with self._lock:
            if key not in self._sizes:
                return
            self._sizes.move_to_end(key)
        assert self.folder is not None
        try:
            os.utime(self.folder / key)
        except OSError:
            return  # another process removed it

    def _make_room(self) -> None:
        with self._lock:
            total, gone = sum(self._sizes.values()), []
            while total > self.disk_bytes:
                key, size = self._sizes.popitem(last=False)
                total -= size
                gone.append(key)
        for key in gone:
            self._remove(key)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._sizes.pop(key, None)
        self._remove(key)

    def _remove(self, key: str) -> None:
        assert self.folder is not None
        shutil.rmtree(self.folder / key, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
