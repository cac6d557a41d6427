"""Listening: the application under uvicorn, on a socket that is bound before the address is printed."""

import socket
from collections.abc import Callable

import uvicorn

from vxl.errors import ConfigError
from vxl.generate.loaded import LoadedModel
from vxl.serve.app import make_app
from vxl.serve.config import ServeConfig
from vxl.serve.server import Server

GRACE = 10
"""Seconds that requests have to end when the server is to stop."""

BACKLOG = 128
"""Connections that wait to be taken."""


def listen(loaded: LoadedModel, config: ServeConfig, say: Callable[[str], object]) -> None:
    """Serves a model until the process is to end.

    Args:
        loaded: The model.
        config: How.
        say: Called with the address that it listens at.

    Raises:
        ConfigError: The address is taken, or none of this machine's.
    """
    with bound(config.host, config.port) as sock:
        server = Server(loaded, config, config.name or name_of(loaded))
        host, port = sock.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        settings = uvicorn.Config(
            make_app(server),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
        say(
            f"{server.name} at {address}/v1"
            + (f", and a page to try it at {address}/" if config.page else "")
        )
        uvicorn.Server(settings).run(sockets=[sock])


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises:
        ConfigError: The address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)  # before the address is printed: early clients wait
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"host={host} port={port} can't be listened at: {error.strerror or error}.\n"
            "  take another:  port=8001   or any that is free:  port=0"
        ) from error
    return sock


def name_of(loaded: LoadedModel) -> str:
    """What clients call a model: its run, its folder of weights, or the model."""
    if loaded.checkpoint is None:
        return loaded.config.model
    folder = loaded.checkpoint
    return folder.parents[1].name if folder.parent.name == "checkpoints" else folder.name
