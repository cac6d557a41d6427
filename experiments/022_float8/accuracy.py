"""What float8 costs in accuracy, with pretrained weights: DINOv2-S on real clips, SmolLM2-135M on real text.

python experiments/022_float8/accuracy.py [--model small] [--frames 32] [--tokens 512] [--out results.json]

Every way of computing is compared with float32 on the same inputs. float8 is emulated: the numbers of a
card's products without its speed.
"""

import argparse
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.checkpoint.load import assemble
from vxl.config.compose import compose
from vxl.data.batch.answer import format_question
from vxl.data.sample import Question
from vxl.generate.loaded import LoadedModel
from vxl.option.rebuild import plain
from vxl.run.provenance import commit_of
from vxl.statistics.clustered import ItemScore, estimate
from vxl.video.load import load_video
from vxl.video.sample import Uniform, UniformConfig
from vxl.weights.coded import coded

ROOT = Path(__file__).parents[2]
CLIPS = ROOT / "examples" / "clips"
IN_FP8 = ("vision.fp8=emulated", "llm.fp8=emulated")
WAYS: dict[str, tuple[torch.dtype, tuple[str, ...]]] = {
    "float32": (torch.float32, ()),
    "bf16": (torch.bfloat16, ()),
    "float8 weights alone": (torch.float32, IN_FP8),
    "float8 in float32": (torch.float32, IN_FP8),
    "float8 in bf16": (torch.bfloat16, IN_FP8),
}
"""Precision of everything else, and settings. The last is what a card would do."""
ALONE = "float8 weights alone"
SURE = 0.5
"""A probability of the likeliest token from which float32 counts as sure."""


def loaded(model: str, way: str) -> LoadedModel:
    """The model, computing in one of the ways."""
    dtype, settings = WAYS[way]
    config = compose("train", [f"model={model}", *settings])
    made = assemble(plain(config), "cpu", Path("runs"), dtype=dtype)
    for _, layer in coded(made.model) if way == ALONE else ():
        layer.product = partial(without_coding, layer)
    return made


def without_coding(layer: nn.Linear, input: Tensor, *_: Tensor) -> Tensor:
    """A layer's output where only its weight is rounded."""
    return F.linear(input, layer.weight.to(input.dtype), layer.bias)


def texts(model: LoadedModel, most: int) -> Iterator[tuple[str, list[int]]]:
    """(where it is from, its tokens): questions about the clips as prompts with their answers, and the
    project's pages, as far as `most` tokens."""
    tokenizer = model.tokenizer
    for clip in json.loads((CLIPS / "clips.json").read_text()):
        turns = []
        for asked in clip["questions"]:
            question = Question(asked["question"], tuple(asked["options"]), asked["answer"])
            turns.append({"role": "user", "content": f"{clip['caption']}\n{format_question(question)}"})
            turns.append({"role": "assistant", "content": asked["options"]["ABCD".index(asked["answer"])]})
        said = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)
        yield clip["video"], tokenizer(said)["input_ids"][:most]
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        yield page.name, tokenizer(page.read_text()[: 8 * most])["input_ids"][:most]


@torch.no_grad()
def features(model: LoadedModel, frames: int) -> dict[str, Tensor]:
    """patches_FPV of every clip."""
    sampler = Uniform(UniformConfig(max_frames=frames))
    pixels = model.config.vision.pixels
    found = {}
    for clip in sorted(CLIPS.glob("*.mp4")):
        frames_FCHW = load_video(clip, sampler, pixels).frames_FCHW
        found[clip.name] = model.model.vision(frames_FCHW).double()
    return found


@torch.no_grad()
def scores(model: LoadedModel, tokens: list[int]) -> Tensor:
    """scores_TV of the token that comes next, centred: a number added to all of them means nothing."""
    llm = model.model.llm
    hidden_1TD = llm(llm.embed(torch.tensor([tokens])), llm.step(torch.arange(len(tokens))[None]))
    scores_TV = llm.logits(hidden_1TD)[0, :, : len(model.tokenizer)].float()
    return scores_TV - scores_TV.mean(1, keepdim=True)


def of_tower(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, Any]:
    """How far features are from those of float32, of all clips and of each."""

    def off(names: list[str]) -> dict[str, float]:
        ours, theirs = (torch.cat([of[name].flatten(0, 1) for name in names]) for of in (found, exact))
        cosine = F.cosine_similarity(ours, theirs, dim=1)
        spread = theirs - theirs.mean(0)  # what tells patches apart, without what all of them have
        return {
            "relative_error": float((ours - theirs).norm() / theirs.norm()),
            "of_the_spread": float((ours - theirs).norm() / spread.norm()),
            "cosine_mean": float(cosine.mean()),
            "cosine_least": float(cosine.min()),
        }

    return off(list(exact)) | {"clips": {name: off([name]) for name in exact}}


def of_llm(found: dict[str, Tensor], exact: dict[str, Tensor], said: dict[str, list[int]]) -> dict[str, Any]:
    """How far scores are from those of float32, and how often the likeliest token is the same one."""
    same, sure_ones, losses = [], [], []
    squares = [0.0, 0.0]
    divergences = []
    for name, theirs_TV in exact.items():
        ours_TV = found[name]
        squares[0] += float((ours_TV - theirs_TV).square().sum())
        squares[1] += float(theirs_TV.square().sum())
        ours, theirs = ours_TV.log_softmax(1), theirs_TV.log_softmax(1)
        divergences.append((theirs.exp() * (theirs - ours)).sum(1))
        losses.append(-ours[:-1].gather(1, torch.tensor(said[name])[1:, None]))
        likeliest, best = theirs.exp().max(1)
        for place, agrees in enumerate((ours.argmax(1) == best).tolist()):
            item = ItemScore(f"{name} {place}", float(agrees), name)
            same.append(item)
            if likeliest[place] > SURE:
                sure_ones.append(item)
    return {
        "relative_error": (squares[0] / squares[1]) ** 0.5,
        "kl": float(torch.cat(divergences).mean()),
        "loss": float(torch.cat(losses).mean()),
        "top1": estimate(same).plain(),
        "top1_where_sure": estimate(sure_ones).plain() if sure_ones else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="small")
    parser.add_argument("--frames", type=int, default=32, help="of each clip")
    parser.add_argument("--tokens", type=int, default=512, help="most of a text")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    given = parser.parse_args()
    rows, exact = [], {}
    for way in WAYS:
        model = loaded(given.model, way)
        said = dict(texts(model, given.tokens))
        seen = features(model, given.frames)
        spoken = {name: scores(model, tokens) for name, tokens in said.items()}
        exact = exact or {"seen": seen, "spoken": spoken}
        tower, llm = of_tower(seen, exact["seen"]), of_llm(spoken, exact["spoken"], said)
        rows.append({"way": way, "tower": tower, "llm": llm})
        print(f"{way}: tower {tower['relative_error']:.4f}, scores {llm['relative_error']:.4f}", flush=True)
    result = {
        "model": given.model,
        "frames": {name: len(of_clip) for name, of_clip in exact["seen"].items()},
        "tokens": {name: len(scores_TV) for name, scores_TV in exact["spoken"].items()},
        "ways": rows,
        "device": "CPU",
        "torch": torch.__version__,
        "commit": commit_of(ROOT),
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
