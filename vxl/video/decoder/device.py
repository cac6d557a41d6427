"""Which decoders decode where, `video.device`."""

from vxl.errors import ConfigError


def refuse_device(decoder: str, device: str) -> None:
    """Only torchcodec decodes on a card.

    Raises:
        ConfigError: There is no such device, or this decoder does not decode there.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device={device} does not exist.\n  choose one of: cpu, cuda")
    if device == "cuda" and decoder != "torchcodec":
        raise ConfigError(
            f"device=cuda with decoder={decoder}: only torchcodec decodes on a card.\n"
            "  type  video.decoder=torchcodec video.device=cuda\n  or    video.device=cpu"
        )
