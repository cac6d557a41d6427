"""Small invented files in the shapes of the authors', with each known defect."""

import json
from pathlib import Path
from typing import Any

from vxl.evaluate.benchmarks.mvbench import FOLDERS


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def mlvu(root: Path) -> Path:
    """Seven files; a candidate's blanks, a doubled gold, the empty row 26, an alias, a count as int."""

    def row(video: str, answer: str = "A plate", **changes: Any) -> dict[str, Any]:
        return {
            "video": video,
            "duration": 512.4,
            "question": "What does the woman put on the table?",
            "candidates": ["A red cup", "A blue cup ", "A plate", "A lamp"],
            "answer": answer,
            "question_type": "plotQA",
        } | changes

    folder = root / "json"
    alias = row(
        "needle_4.mp4",
        "Catching a flying drone quadcopter",
        candidates=["Catching the drone", "Eating", "Running", "Sleeping"],
    )
    doubled = row("plot_1.mp4", "A cup", candidates=["A cup", "A plate", "A cup", "A lamp"])
    files = {
        "1_plotQA": [row("plot_0.mp4", "A blue cup"), doubled],
        "2_needle": [row(f"needle_{n}.mp4") for n in range(34)] + [alias],
        "3_ego": [row("ego_0.mp4")],
        "4_count": [row("count_0.mp4", "3", candidates=[1, 2, 3, 4], duration=200)],
        "5_order": [row("order_0.mp4")],
        "6_anomaly_reco": [row("surveil_0.mp4")],
        "7_topic_reasoning": [
            *(row(f"movie_{n}.mp4") for n in range(26)),
            dict.fromkeys(row(""), "") | {"video": "movie101_89.mp4", "candidates": []},
        ],
    }
    for stem, rows in files.items():
        write(folder / f"{stem}.json", rows)
    write(
        folder / "8_sub_scene.json",
        [
            {
                "video": "sub.mp4",
                "duration": 9,
                "question": "Describe it.",
                "answer": "x",
                "scoring_points": ["p"],
            }
        ],
    )
    write(
        folder / "9_summary.json", [{"video": "s.mp4", "duration": 9, "question": "Sum up.", "answer": "y"}]
    )
    return folder


def videomme(root: Path) -> Path:
    rows = []
    for number, duration in enumerate(("short", "medium", "long") * 2):
        rows.append(
            {
                "video_id": f"90{number}",
                "duration": duration,
                "domain": "Knowledge",
                "sub_category": "Astronomy",
                "url": "https://example.org",
                "videoID": f"vid{number // 2}",
                "question_id": f"90{number}-1",
                "task_type": "Counting Problem",
                "question": "How many\nmoons are shown?",
                "options": ["A. One.", "B. Two.", "C. Three.", "D. One." if number == 5 else "D. Four."],
                "answer": "A" if number == 5 else "ABCD"[number % 4],
            }
        )
    return write(root / "videomme.json", rows)


SRT = (
    "\ufeff1\r\n00:00:00,000 --> 00:00:01,000\r\n"
    '<font color="white" size=".72c">hello and welcome</font>\r\n\r\n'
    "2\r\n00:00:01,000 --> 00:00:05,500\r\n"
    '<font color="white">first line</font>\r\n<font color="white">second line</font>\r\n'
)


def longvideobench(root: Path) -> Path:
    def row(number: int, candidates: list[str], right: int) -> dict[str, Any]:
        return {
            "video_id": f"@user-{number}",
            "question": "After the subtitle says 'now the salt', what does the man pick up?",
            "question_wo_referring_query": "What does the man pick up?",
            "candidates": candidates,
            "correct_choice": right,
            "position": [120, 480],
            "topic_category": "LC",
            "question_category": "T3O",
            "level": "L2-Relation" if number % 2 else "L1-Perception",
            "id": f"{number}_0",
            "video_path": f"{number // 2}.mp4",
            "subtitle_path": f"{number // 2}_en.json",
            "duration_group": (15, 60, 600, 3600)[number % 4],
            "starting_timestamp_for_subtitles": 0 if number else 12.0,
            "duration": 41.6,
            "view_count": 1,
        }

    five = ["a spoon", "a pan", "a towel", "a knife", "a bowl"]
    rows = [row(n, five[: 5 - n % 3], n % 3) for n in range(6)]
    write(
        root / "subtitles" / "0_en.json",
        [
            {"timestamp": [12.0, 13.4], "text": "now the salt"},
            {"timestamp": [13.4, None], "text": "and stir"},
        ],
    )
    write(root / "subtitles" / "1_en.json", [{"start": "00:00:00.200", "end": "00:00:03.400", "line": "hi"}])
    return write(root / "lvb_val.json", rows)


def lvbench(root: Path) -> Path:
    def question(uid: str, answer: str, *types: str, time: str = "03:15-03:19") -> dict[str, Any]:
        text = "What does the host hold?\n(A) a mug\n(B) a book\n(C) a mug\n(D) a pen"
        return {
            "uid": uid,
            "question": text,
            "answer": answer,
            "question_type": list(types),
            "time_reference": time,
        }

    videos = [
        {
            "key": "AbCdEfGhIjK",
            "type": "tv",
            "video_info": {"duration_minutes": 61, "fps": 30.0},
            "qa": [
                question("9001", "B", "entity recognition", "temporal grounding"),
                question("9002", "A", "event understanding", time="100:05-None"),
                question("9003", "D", "reasoning", time="None-None"),
            ],
        },
        {
            "key": "idZkam9zqAs",
            "type": "live",
            "video_info": {"duration_minutes": 40, "fps": 30.0},
            "qa": [question(f"910{n}", "D", "summarization") for n in range(3)],
        },
    ]
    return write(root / "video_info.meta.jsonl", "\n".join(json.dumps(v) for v in videos) + "\n")


def vnbench(root: Path) -> Path:
    rows = []
    for stem, kind in (("v_AbC_dEf_cnt_edit1", "cnt_edit1"), ("v_AbC_dEf_ret_insert1", "ret_insert2")):
        for number, options in enumerate(([3, 5, 4, 2], [5, 3, 2, 4], [2, 4, 5, 3], [4, 2, 3, 5])):
            rows.append(
                {
                    "video": f"./VNBench/{stem}.mp4",
                    "question": "How many times does the object appear?",
                    "options": options,
                    "needle_time": [3, 9, 20],
                    "gt": "3",
                    "gt_option": "ABCD"[options.index(3)],
                    "length": 61.2,
                    "type": kind,
                    "try": number,
                }
            )
    return write(root / "VNBench-main-4try.json", rows)


CHARADES = (
    "AB12C 3.2 11.5##person closes the door.\n"
    "ZZ9YX 0.0 6.1##a person puts a cup on the shelf.\n"
    "AB12C 20.0 31.0##person sits ## down.\n"
)


def charades_sta(root: Path) -> Path:
    return write(root / "charades_sta_test.txt", CHARADES)


def mvbench(root: Path) -> Path:
    """Twenty tasks of one question; one with a single option, one that is cut, one of frames."""
    for task in FOLDERS:
        row: dict[str, Any] = {
            "video": f"{task}.mp4",
            "question": "What happened?",
            "candidates": ["Sat.", "Closed the door.", "Took the cup."],
            "answer": "Took the cup.",
        }
        if task == "counterfactual_inference":
            row |= {"candidates": ["They collide"], "answer": "They collide"}
        if task == "action_sequence":
            row |= {"start": 2.1, "end": 14.0}
        if task == "episodic_reasoning":
            row |= {
                "video": "show_s01",
                "start": 0.0,
                "end": 1.0,
                "fps": 3,
                "subtitle": "x",
                "show_name": "y",
            }
        write(root / "json" / f"{task}.json", [row])
    return root / "json"


def egoschema(root: Path) -> Path:
    rows = [
        {
            "q_uid": f"0000000{n}",
            "google_drive_id": "x",
            "question": "What is the overall aim of c?",
            **{
                f"option {m}": word
                for m, word in enumerate(("to cook", "to clean", "to mend", "to paint", "to read"))
            },
        }
        for n in range(6)
    ]
    write(root / "subset_answers.json", {"00000001": 2, "00000003": 4})
    return write(root / "questions.json", rows)


def tempcompass(root: Path) -> Path:
    folder = root / "questions"
    choice = {
        "question": "What is the dog doing?\nA. running\nB. sleeping\nC. eating",
        "answer": "A. running",
    }
    caption = {
        "question": "Which caption matches?\nCaption A: The dog eats.\nCaption B: The dog sleeps.",
        "answer": "Caption B: The dog sleeps.",
    }
    write(folder / "multi-choice.json", {"1": {"action": [choice], "speed": []}})
    write(folder / "yes_no.json", {"1": {"action": [{"question": "Is the dog running?", "answer": "no"}]}})
    write(folder / "caption_matching.json", {"1": {"order": [caption]}})
    write(root / "meta_info.json", {"1": {"eval_dim": {"action": {"type": "fine-grained"}, "order": None}}})
    write(folder / "captioning.json", {"1": {"order": [{"question": "Describe.", "answer": "x"}]}})
    return folder


def videommmu(root: Path) -> Path:
    choice = {
        "id": "new_Art_900",
        "question": "Which technique does the lecture name first?",
        "options": ["Fresco", "Etching", "Collage"],
        "answer": "B",
        "question_type": "perception",
    }
    lettered = choice | {"options": ["A. Fresco", "B. Etching"], "question_type": "comprehension"}
    number = choice | {"options": [], "answer": "1,200.5", "question_type": "open"}
    for track, row in (("Perception", choice), ("Comprehension", lettered), ("Adaptation", number)):
        write(root / f"{track}.json", [row])
    return root


def vdc(root: Path) -> Path:
    qa = [{"question": "Where does the man walk?", "answer": "Along a river"}]
    rows = [{"video_name": f"clip_{n}.mp4", "caption": "A man walks.", "qa_list": qa} for n in range(6)]
    return write(root / "detailed.json", rows)
