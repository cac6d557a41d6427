"""A model that is served, and what asks it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import vxl
from tests.run_directories import make_run
from vxl.generate.loaded import LoadedModel

pytest.importorskip("starlette", reason="needs vxl[serve]")
import uvicorn
from starlette.testclient import TestClient

from vxl.serve.app import make_app
from vxl.serve.config import ServeConfig
from vxl.serve.listen import bound
from vxl.serve.server import Server

HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny model with random weights."""
    return vxl.load(make_run(tmp_path_factory.mktemp("runs"), "first", steps=(10,)), device="cpu")


@pytest.fixture
def serve(loaded: LoadedModel, clips: Path) -> Iterator[Callable[..., TestClient]]:
    """Serves the model: settings of `ServeConfig` -> a client of the server, which is `client.app.state`."""
    with ExitStack() as stack:

        def start(model: LoadedModel = loaded, **settings: Any) -> TestClient:
            usual: dict[str, Any] = {"contexts": None, "files": (clips,)}
            config = ServeConfig(**usual | settings)
            app = make_app(Server(model, config, "first"))
            return stack.enter_context(TestClient(app, base_url=HERE, raise_server_exceptions=False))

        yield start


@pytest.fixture
def listening(loaded: LoadedModel, clips: Path) -> Iterator[Callable[..., tuple[Server, str]]]:
    """Serves the model on a port of this machine: settings -> the server and its address."""
    with ExitStack() as stack:

        def start(model: LoadedModel = loaded, **settings: Any) -> tuple[Server, str]:
            usual: dict[str, Any] = {"contexts": None, "files": (clips,)}
            server = Server(model, ServeConfig(**usual | settings), "first")
            sock = stack.enter_context(bound("127.0.0.1", 0))
            running = uvicorn.Server(uvicorn.Config(make_app(server), log_level="error"))
            thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]})
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, running, "should_exit", True)
            return server, f"http://127.0.0.1:{sock.getsockname()[1]}"

        yield start


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    """A client of a server with the usual settings."""
    return serve()


@pytest.fixture
def city(clips: Path) -> dict[str, Any]:
    """A part of a message that shows a clip."""
    return {"type": "video_url", "video_url": {"url": (clips / "city.mp4").as_uri()}}
