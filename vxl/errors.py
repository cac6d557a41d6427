"""The errors a user can meet. Each message says what was got, what was expected and what to type."""

GOES_ON = "the same command goes on, from the last checkpoint if there is one"
"""What to do about a training that was stopped; true as well of one that had saved nothing yet."""


class VxlError(Exception):
    """Base of all errors that are the user's to mend; entry scripts print them without a traceback."""

    status = 2
    """Exit status of a command that it ends; 2 tells a cluster that there is no sense in trying again."""


class ConfigError(VxlError):
    """The command line or a config file asks for something that does not exist or does not fit."""


class DataError(VxlError):
    """A video, a sample or a shard can't be read, or is not what its index says."""


class CheckpointError(VxlError):
    """Weights are absent, incomplete, or do not fit the model."""


class LostError(VxlError):
    """Another process of the run is gone: killed, or out of memory; to try again may help."""

    status = 1


class JudgeError(VxlError):
    """A judge of answers does not answer; to try again may help."""

    status = 1


def one_line(message: str) -> str:
    """A message without its line breaks, for lists and logs: its lines become clauses."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(line if line[-1] in ".:;,!?" else f"{line};" for line in lines).removesuffix(";")
