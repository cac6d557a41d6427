"""Processes that import once and then run any number of cases together, as one group of any size."""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Pool:
    """`run(n, function, …)` calls a function in n processes at once.

    One process is started; it imports what the cases need and forks the others. Calls and results travel
    pickled through a socket each. What they print is in `log`.
    """

    def __init__(self, ranks: int) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed by `close`
        pairs = [socket.socketpair() for _ in range(ranks)]
        self.sockets = [ours for ours, _ in pairs]
        theirs = [theirs.fileno() for _, theirs in pairs]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.strategies.pool", *map(str, theirs)],
            pass_fds=theirs,
            stdout=self.log,
            stderr=self.log,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        for _, their in pairs:
            their.close()

    def run(self, ranks: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What `function(*arguments)` gives in each of the first `ranks` processes.

        One process alone has no process group, as `python train.py` has none.
        """
        port = free_port()
        for rank, member in enumerate(self.sockets[:ranks]):
            env = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            send(member, (env if ranks > 1 else {}, function, arguments))
        results = [receive(member) for member in self.sockets[:ranks]]
        failed = [f"rank {rank}: {value}" for rank, (good, value) in enumerate(results) if not good]
        if failed:
            self.log.seek(0)
            raise AssertionError("\n".join(failed) + "\n" + self.log.read()[-4000:])
        return [value for _, value in results]

    def close(self) -> None:
        """Ends the processes."""
        for member in self.sockets:
            member.close()
        self.process.kill()
        self.process.wait()
        self.log.close()


def send(to: socket.socket, value: Any) -> None:
    text = pickle.dumps(value)
    to.sendall(len(text).to_bytes(8, "little") + text)


def receive(source: socket.socket) -> Any:
    with source.makefile("rb") as file:
        head = file.read(8)
        if not head:
            return False, "it is gone"
        return pickle.loads(file.read(int.from_bytes(head, "little")))


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def serve(calls: socket.socket) -> None:
    """One process of a pool, until nobody calls any more."""
    import torch

    torch.set_num_threads(1)
    while True:
        call = receive(calls)
        if call[0] is False:
            return
        env, function, arguments = call
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        os.environ.update(env)
        try:
            result = (True, function(*arguments))
        except BaseException:
            result = (False, traceback.format_exc())
        send(calls, result)


def main() -> None:
    """Imports, then forks; nothing that has threads may have begun by then."""
    from tests.strategies import cases  # noqa: F401

    sockets = [socket.socket(fileno=int(number)) for number in sys.argv[1:]]
    children = []
    for own in sockets:
        child = os.fork()
        if child == 0:
            for other in sockets:
                if other is not own:
                    other.close()
            serve(own)
            os._exit(0)
        children.append(child)
    for own in sockets:
        own.close()
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
