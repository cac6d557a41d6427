"""What someone without vxl does with exported folders; run as a program by test_fresh.py.

Arguments: a JSON file of {name: {"folder", "video", "question", "expected"}}, where `expected` is a file of
tensors and texts that vxl gave. Prints a line for each check that held.
"""

import json
import os
import sys
from pathlib import Path

sys.modules["vxl"] = None  # ty: ignore[invalid-assignment]  # every import of vxl fails from here on
sys.path = [place for place in sys.path if not (Path(place or ".") / "vxl" / "__init__.py").exists()]
if "VXL_TRANSFORMERS" in os.environ:  # another release, unpacked in a folder
    sys.path.insert(0, os.environ["VXL_TRANSFORMERS"])

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor, pipeline  # noqa: E402

TOKENS = 12


def main(file: str) -> None:
    print("transformers", transformers.__version__)
    jobs = json.loads(Path(file).read_text())
    for name, job in jobs.items():
        print(name, *check(**job))
    first = next(iter(jobs.values()))
    print("refusal", refusal(first["folder"]))
    print("pipeline", *pipelines(first["folder"], first["video"], first["question"], first["expected"]))
    print("round trip", *round_trip(first["folder"], Path(file).parent / "saved again"))


def check(folder: str, video: str, question: str, expected: str) -> tuple[str, ...]:
    """Loads a folder on the device that `auto` chooses, and compares with what vxl gave."""
    wanted = torch.load(expected)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, device_map="auto", output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    tied = model.config.tie_word_embeddings
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    content = [{"type": "video", "path": video}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    written = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    for again in (processor(text=written, videos=[video]), processor(text=question, videos=video)):
        assert again.keys() == inputs.keys()
        assert all(torch.equal(tensor, inputs[key]) for key, tensor in again.items())
    inputs = inputs.to(model.device)
    with torch.no_grad():
        out = model(**inputs, logits_to_keep=1)
    away = (out.logits[0, -1].cpu() - wanted["logits"]).abs().max().item()
    assert away <= 1e-5, away
    start = inputs["input_ids"].shape[1]
    tokens = model.generate(**inputs, max_new_tokens=TOKENS)
    said = processor.decode(tokens[0, start:], skip_special_tokens=True).strip()
    assert said == wanted["text"], (said, wanted["text"])
    settings = {"max_new_tokens": TOKENS}
    answer, history = model.chat(video, processor.tokenizer, question, generation_config=settings)
    assert answer == wanted["text"]
    second, history = model.chat(
        video, processor.tokenizer, question, chat_history=history, generation_config=settings
    )
    assert [turn["role"] for turn in history] == ["user", "assistant"] * 2
    fewer = model.chat(
        video,
        processor.tokenizer,
        question,
        return_history=False,
        max_num_frames=4,
        sample_fps=0.5,
        max_sample_fps=1,
        generation_config=settings,
    )
    assert isinstance(second, str)
    assert isinstance(fewer, str)
    body = AutoModel.from_pretrained(folder, trust_remote_code=True)
    with torch.no_grad():
        hidden = body(**{key: tensor.to(body.device) for key, tensor in inputs.items()}).last_hidden_state
    assert torch.allclose(model.get_output_embeddings()(hidden[:, -1]), out.logits[:, -1], atol=1e-5)
    return ("logits", "greedy", "chat", "AutoModel")


def refusal(folder: str) -> str:
    """Without trust nothing of the folder runs, and the message says what to pass."""
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        said = str(error)
    else:
        said = "it loaded"
    assert "trust_remote_code=True" in said, said
    return "said"


def pipelines(folder: str, video: str, question: str, expected: str) -> list[str]:
    """What `pipeline` makes of the folder."""
    wanted = torch.load(expected)["text"]
    content = [{"type": "video", "path": video}, {"type": "text", "text": question}]
    held = []
    for task in ("image-text-to-text", "any-to-any"):
        pipe = pipeline(task, model=folder, trust_remote_code=True)
        found = pipe(
            text=[{"role": "user", "content": content}], max_new_tokens=TOKENS, return_full_text=False
        )
        assert found[0]["generated_text"].strip() == wanted, (task, found)
        held.append(task)
    pipe = pipeline("text-generation", model=folder, trust_remote_code=True)
    found = pipe([{"role": "user", "content": question}], max_new_tokens=3, return_full_text=False)
    assert isinstance(found[0]["generated_text"], str)
    return [*held, "text-generation"]


def round_trip(folder: str, again: Path) -> list[str]:
    """What `save_pretrained` writes loads like the folder itself, code and all."""
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    model.save_pretrained(again)
    processor.save_pretrained(again)
    lost = {file.name for file in Path(folder).glob("*.py")} - {file.name for file in again.glob("*.py")}
    assert not lost, lost
    second = AutoModelForCausalLM.from_pretrained(again, trust_remote_code=True)
    for (name, mine), (_, theirs) in zip(
        model.state_dict().items(), second.state_dict().items(), strict=True
    ):
        assert torch.equal(mine, theirs), name
    other = AutoProcessor.from_pretrained(again, trust_remote_code=True)
    question = "What is this?"
    assert torch.equal(processor(text=question)["input_ids"], other(text=question)["input_ids"])
    assert other.chat_template == processor.chat_template
    return ["weights", "processor", "code"]


if __name__ == "__main__":
    main(sys.argv[1])
