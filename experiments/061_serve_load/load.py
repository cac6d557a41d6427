"""200 requests of 8 clients to `vxl serve`, its memory meanwhile, and a kill -9 after them: results.json.

python experiments/061_serve_load/load.py [requests] [clients]
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
from openai import OpenAI

HERE = Path(__file__).parent
CLIPS = sorted((HERE.parents[1] / "examples" / "clips").glob("*.mp4"))
QUESTIONS = ["What is shown?", "Who is it?", "Where is it?", "What comes first?", "Which colour is the sky?"]
FRAMES = [4, 8, 16]


class Serving:
    """`vxl serve model=tiny weights=random` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        began = time.monotonic()
        words = f"model=tiny weights=random port=0 queue=16 memory_mib=1 files={CLIPS[0].parent}"
        command = [sys.executable, "-m", "vxl.cli", "serve", *words.split(), f"contexts={folder}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[2].rstrip(",").removesuffix("/v1")
        self.client = OpenAI(base_url=f"{self.address}/v1", api_key="none", max_retries=0, timeout=300)
        while httpx2.get(f"{self.address}/health").status_code != 200:
            time.sleep(0.1)
        self.seconds = time.monotonic() - began

    def numbers(self) -> dict[str, float]:
        """What it counts."""
        lines = httpx2.get(f"{self.address}/metrics").text.splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
        }

    def found(self) -> dict[str, int]:
        """Where contexts were found."""
        wanted = 'vxl_contexts_found_total{where="'
        return {
            name.removeprefix(wanted)[:-2]: int(value)
            for name, value in self.numbers().items()
            if name.startswith(wanted)
        }

    def ask(self, number: int, *, stream: bool = False) -> tuple[str, int]:
        """The number-th request: its answer, and its prompt's tokens that had been watched before."""
        video = CLIPS[number % len(CLIPS)].as_uri()
        asked: Any = {
            "model": "tiny",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "video_url", "video_url": {"url": video}},
                        {"type": "text", "text": QUESTIONS[number // len(CLIPS) % len(QUESTIONS)]},
                    ],
                }
            ],
            "max_tokens": 16,
            "extra_body": {"media_io_kwargs": {"video": {"num_frames": FRAMES[number // 7 % len(FRAMES)]}}},
        }
        if not stream:
            whole = self.client.chat.completions.create(**asked)
            return whole.choices[0].message.content, whole.usage.prompt_tokens_details.cached_tokens
        usage = {"stream": True, "stream_options": {"include_usage": True}}
        pieces = list(self.client.chat.completions.create(**asked, **usage))
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        return text.strip(), pieces[-1].usage.prompt_tokens_details.cached_tokens


def load(serving: Serving, requests: int, clients: int) -> tuple[dict[str, Any], list[str]]:
    """Asks, and looks at the server's memory after every tenth part."""
    seconds: list[float] = []
    answers = [""] * requests
    errors: Counter[str] = Counter()
    memory: list[dict[str, float]] = []
    lock = threading.Lock()

    def one(number: int) -> None:
        began = time.monotonic()
        try:
            answers[number], _ = serving.ask(number, stream=number % 2 == 1)
        except Exception as error:
            with lock:
                errors[type(error).__name__] += 1
            return
        with lock:
            seconds.append(time.monotonic() - began)
            if len(seconds) % (requests // 10) == 0:
                resident = serving.numbers()["process_resident_memory_bytes"]
                memory.append({"answered": len(seconds), "resident_mb": round(resident / 1e6, 1)})

    began = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(requests)))
    took = time.monotonic() - began
    ordered = sorted(seconds)
    return {
        "requests": requests,
        "clients": clients,
        "answered": len(seconds),
        "errors": dict(errors),
        "seconds": round(took, 1),
        "requests_per_s": round(len(seconds) / took, 2),
        "latency_s": {
            "median": round(statistics.median(ordered), 3),
            "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
            "most": round(ordered[-1], 3),
        },
        "memory": memory,
        "contexts_found": serving.found(),
    }, answers


def main() -> None:
    requests, clients = map(int, sys.argv[1:] or ("200", "8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "contexts"
        serving = Serving(folder)
        try:
            result, answers = load(serving, requests, clients)
        finally:
            serving.process.send_signal(signal.SIGKILL)
            serving.process.wait()
        again = Serving(folder)
        try:
            asked = list(range(min(requests, 21)))  # every video with every number of frames
            said = [again.ask(number) for number in asked]
            result["after_kill_9"] = {
                "requests": len(said),
                "same_answers": sum(answers[n] == text for n, (text, _) in zip(asked, said, strict=True)),
                "without_watching": sum(cached > 0 for _, cached in said),
                "contexts_found": again.found(),
                "seconds_to_start": round(again.seconds, 1),
            }
        finally:
            again.process.terminate()
            again.process.wait()
    result["machine"] = "2 shared x86-64 cores, other work beside it; model=tiny weights=random, one thread"
    result["threads"] = os.environ.get("OMP_NUM_THREADS", "")
    (HERE / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
