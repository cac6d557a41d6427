"""Where samples come from: indexed shards, or a JSON list and a folder of media."""

from typing import Protocol, runtime_checkable

from vxl.data.sample import BadSample, Loaded, Sample


@runtime_checkable
class Source(Protocol):
    """Samples by number. Cheap to copy into a data worker; opens files where it is used."""

    def __len__(self) -> int:
        """How many samples."""
        ...

    def record(self, number: int) -> Sample:
        """The sample without its media: text, frames, frames a second. Costs microseconds.

        Raises:
            DataError: What is wrong with its text.
        """
        ...

    def load(self, number: int) -> Loaded:
        """The sample with its media (a path, bytes or a file), not decoded.

        Raises:
            DataError: What is wrong with it.
        """
        ...

    def where(self, number: int) -> tuple[str, str]:
        """(shard, key), for messages; never raises."""
        ...

    def known_bad(self) -> list[BadSample]:
        """What indexing found unusable."""
        ...
