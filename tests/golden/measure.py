"""Every recorded tensor of Video-XL, Video-XL-2 and Video-XL-Pro against ours, by file.

    python -m tests.golden.measure

writes the table in README.md; tests/golden/test_measure.py holds every tensor to the tolerance.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tests.compressor import test_golden as dts
from tests.golden import FOLDER, TOLERANCE, error, golden
from tests.golden import video_xl_model as video_xl
from tests.golden.sequences import golden_embeds, golden_layout, golden_llm, golden_sequence
from tests.kv.published import levels
from tests.selector import published as pro
from tests.selector import test_golden as selector
from tests.vision import test_golden as tower
from vxl.kv.full import Full, FullConfig
from vxl.prefill.chunked import NOTHING, Chunked, ChunkedConfig
from vxl.selector.rows import shorten
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

Errors = dict[str, float]
README = FOLDER / "README.md"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"
WEIGHTS = ("model.", "lm_head.")
INPUTS = ("frames_uint8", "hidden_int8", "time_ids", "input_ids", "image_features")
"""What goes in: recorded, and not computed by anybody here."""


def recorded(file: str) -> list[str]:
    """The tensors of a file that are the published code's results."""
    names = [name for name in golden(file) if not name.startswith(WEIGHTS)]
    return sorted(name for name in names if name.rpartition(".")[2] not in INPUTS)


def choice(ours: Tensor, theirs: Tensor) -> float:
    """0 where choices are identical."""
    return 0.0 if torch.equal(ours.long(), theirs.long()) else float("inf")


def vision(dtype: torch.dtype) -> Errors:
    """The tower, from pixels."""
    found = golden("video_xl_2/vision")
    return {"hidden": error(tower.published(dtype)(found["frames_uint8"]), found["hidden"])}


def stages(dtype: torch.dtype) -> Errors:
    """Every stage of a group, and all visual tokens of a video."""
    found, compressor = golden("video_xl_2/stages"), dts.published(dtype)
    patches_FPV = dts.features(found, dtype)
    errors = {"visual_features": error(compressor(patches_FPV), found["visual_features"])}
    for name, ours in dts.stages_of(compressor, patches_FPV[:4]).items():
        errors[name] = error(ours, found[name])
    return errors


def short(dtype: torch.dtype) -> Errors:
    """A group that its last frame fills up."""
    found = golden("video_xl_2/short")
    return {"visual_features": error(visual_GKD(found["hidden_int8"], dtype), found["visual_features"])}


def visual_GKD(hidden_int8: Tensor, dtype: torch.dtype) -> Tensor:
    """Visual tokens of a video, the last group filled up."""
    patches_FPV = hidden_int8.to(dtype) / 32
    last_FPV = patches_FPV[-1:].expand(-len(patches_FPV) % 4, -1, -1)
    return dts.published(dtype)(torch.cat([patches_FPV, last_FPV]))


def sequences(dtype: torch.dtype) -> Errors:
    """From the tower's output to logits, plainly causal and in chunks."""
    hidden = golden("video_xl_2/features") | {
        f"case{case}.hidden_int8": golden(f"video_xl_2/{file}")["hidden_int8"]
        for case, file in ((0, "stages"), (2, "short"))
    }
    llm = golden_llm(dtype)
    errors: Errors = {}
    for case in range(4):
        found, known, ids = golden_sequence(case)
        rows, layout = known["logit_rows"], golden_layout(known, ids)
        chunked = Chunked(
            ChunkedConfig(groups_per_chunk=known["block_size_groups"], previous_chunks=known["prev_blocks"])
        )
        visual = visual_GKD(hidden[f"case{case}.hidden_int8"], dtype)
        embeds = golden_embeds(llm, found | {"visual_features": visual}, ids, layout)
        whole = llm(embeds, llm.step(torch.arange(ids.shape[1])[None]))
        chunks = chunked.feed(llm, Full(FullConfig()), llm.new_cache(), Piece(embeds, layout))
        errors |= {
            f"case{case}.visual_features": error(visual, found["visual_features"]),
            f"case{case}.embeds_rows": error(embeds[0, rows], found["embeds_rows"]),
            f"case{case}.logits_full": error(llm.logits(whole[0, rows]), found["logits_full"]),
            f"case{case}.logits_chunked": error(llm.logits(chunks[0, rows]), found["logits_chunked"]),
            f"case{case}.chunked_allowed_per_row": choice(
                allowed(chunked, layout), found["chunked_allowed_per_row"]
            ),
        }
    return errors


def two_levels(dtype: torch.dtype) -> Errors:
    """Bi-level decoding: the mixed caches, the questions read on them, and forced steps of answers."""
    found = golden("video_xl_2/levels")
    return {name: error(t, found[name]) for case in range(4) for name, t in levels(case, dtype).items()}


def allowed(chunked: Chunked, layout: Layout) -> Tensor:
    """How many positions each one may see under chunked prefill."""
    window, _ = chunked.look(NOTHING, layout, 0, 0)
    column_T = torch.arange(layout.shape[1])
    since_T = torch.from_numpy(window.per_token(len(column_T))[0])
    always_A = torch.from_numpy(window.always_A)
    return column_T - since_T + 1 + (always_A[None] < since_T[:, None]).sum(dim=1)


def selected(case: int) -> Callable[[torch.dtype], Errors]:
    """Video-XL-Pro from the tower's output to logits."""

    def measure(dtype: torch.dtype) -> Errors:
        known = pro.CASES[case]
        found, m = golden(f"video_xl_pro/case{case}"), pro.model(known, dtype)
        rows = selector.spliced(m, known)
        chosen, kept = selector.selected(m, rows), shorten(m.selector, rows)
        shown_T = rows.layout.kind_BT[0] != Kind.TEXT
        kept_N = chosen.kept_S[rows.layout.kind_BT[0][shown_T] == Kind.VISUAL]
        return {
            "token_scores": error(chosen.scores_N, found["token_scores"]),
            "kept_visual_index": choice(kept_N.nonzero()[:, 0], found["kept_visual_index"]),
            "inputs_embeds": error(kept.embeds_BTD[0], found["inputs_embeds"]),
            "last_logits": error(selector.last_logits(m, kept), found["last_logits"]),
        }

    return measure


def summarized(dtype: torch.dtype) -> Errors:
    """Video-XL from visual tokens to answers, and its gradients through all windows."""
    errors: Errors = {}
    for case in range(len(video_xl.CASES)):
        found = golden("video_xl/sequences")
        ours = video_xl.answered(case, dtype) | video_xl.trained(case, dtype)
        errors |= {f"case{case}.{name}": error(x, found[f"case{case}.{name}"]) for name, x in ours.items()}
    return errors


MEASURED: dict[str, Callable[[torch.dtype], Errors]] = {
    "video_xl/sequences": summarized,
    "video_xl_2/vision": vision,
    "video_xl_2/stages": stages,
    "video_xl_2/short": short,
    "video_xl_2/sequences": sequences,
    "video_xl_2/levels": two_levels,
    "video_xl_pro/case0": selected(0),
    "video_xl_pro/case1": selected(1),
}


@torch.no_grad()
def measure(file: str, dtype: torch.dtype) -> Errors:
    """The largest |a - b| / (1 + |b|) of every recorded tensor of a file; 0 for identical choices."""
    return MEASURED[file](dtype)


def lines() -> Iterator[str]:
    """The table."""
    yield "| tensor | float64 | float32 |"
    yield "|---|---|---|"
    for file in MEASURED:
        exact, single = (measure(file, dtype) for dtype in TOLERANCE)
        for name in recorded(file):
            shown = (
                "identical" if not x else f"{x:.1e}".replace("e-0", "e-") for x in (exact[name], single[name])
            )
            yield f"| `{file}` {name} | {' | '.join(shown)} |"


def listed() -> dict[tuple[str, str], list[str]]:
    """{(file, tensor): what its row says} of the table in README.md."""
    table = README.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {(cells[0].split("`")[1], cells[0].split("` ")[1]): cells[1:] for cells in rows}


if __name__ == "__main__":
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + "\n".join(lines()) + "\n" + END + rest.partition(END)[2])
