"""The errors a user can meet. Each message says what was got, what was expected and what to type."""


class VxlError(Exception):
    """Base of all errors that are the user's to mend; entry scripts print them without a traceback."""


class ConfigError(VxlError):
    """The command line or a config file asks for something that does not exist or does not fit."""


class DataError(VxlError):
    """A video, a sample or a shard can't be read, or is not what its index says."""


class CheckpointError(VxlError):
    """Weights are absent, incomplete, or do not fit the model."""


def one_line(message: str) -> str:
    """A message without its line breaks, for lists and logs: its lines become clauses."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return " ".join(line if line[-1] in ".:;,!?" else f"{line};" for line in lines).removesuffix(";")
