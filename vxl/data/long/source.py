"""Long videos and their questions as samples: nothing is read before a sample's frames are."""

from dataclasses import fields, replace
from hashlib import blake2b

from vxl.data.base import DataConfig
from vxl.data.batch.answer import format_question
from vxl.data.long.asked import AboutVideo, ask
from vxl.data.long.config import Kind, LongConfig
from vxl.data.long.scenes import FPS, HEIGHT, LOOKS, WIDTH, Scenes
from vxl.data.long.script import Script, Split, write_script
from vxl.data.long.windows import windows
from vxl.data.sample import (
    PLACEHOLDER,
    BadSample,
    Sample,
    SampleWithMedia,
    Segment,
    Turn,
    Visual,
    place_visuals,
)
from vxl.seeds import generator
from vxl.video.virtual import Part, Segments


def parts(config: LongConfig, split: Split) -> tuple[str, ...]:
    """The samples that show the same video, by their `source`."""
    kinds = tuple(config.kinds)
    if split == "held_out":
        return kinds
    return (*(("together",) if config.together else kinds), *("windows",) * config.windows)


class LongSource:
    """The samples of a part of the data: video by video, each kind of question in turn.

    Args:
        config: The settings.
        split: Which part.
        scenes: The files that its videos are made of.
        videos: How many.
    """

    def __init__(self, config: LongConfig, split: Split, scenes: Scenes, videos: int) -> None:
        self.config, self.split, self.scenes, self.videos = config, split, scenes, videos
        self.parts = parts(config, split)
        self._scripts: dict[int, Script] = {}

    def __len__(self) -> int:
        return self.videos * len(self.parts)

    def fingerprint(self) -> str:
        """A digest of what all samples follow from."""
        loading = {setting.name for setting in fields(DataConfig)}  # batch, workers: how they are read
        config = {key: value for key, value in vars(self.config).items() if key not in loading}
        settings = (self.scenes.folder.parent.name, config, self.split, self.videos)
        return blake2b(repr(settings).encode(), digest_size=8).hexdigest()

    def record(self, number: int) -> Sample:
        """The sample without its media."""
        video, part = divmod(number, len(self.parts))
        source, script = self.parts[part], self.script(video)
        length = self.config.needle_seconds
        segments = tuple(
            Segment(event.start, event.start + length, f"{event.colour} {event.shape}, {event.place}")
            for event in script.events
        )
        visual = Visual(
            "video",
            f"long-{self.split}-{video:05d}",
            frames=round(script.seconds * FPS),
            fps=FPS,
            seconds=script.seconds,
            width=WIDTH,
            height=HEIGHT,
        )
        about_video = Sample(key=visual.name, visuals=(visual,), segments=segments)
        if source == "together":
            return replace(about_video, turns=self._conversation(script, video), source=source)
        if source == "windows":
            return self._windows(about_video, script, video, part)
        kind = self.config.kinds[part]
        question = self._asked(script, video, kind).question
        return replace(about_video, key=f"{visual.name}#{kind}", question=question, source=kind)

    def about(self, number: int) -> AboutVideo:
        """The question of a sample, and when the video shows what it needs."""
        video, part = divmod(number, len(self.config.kinds))
        return self._asked(self.script(video), video, self.config.kinds[part])

    def script(self, video: int) -> Script:
        """What happens in a video: asked for several times a sample."""
        if video not in self._scripts:
            self._scripts[video] = write_script(self.config, self.split, video)
        return self._scripts[video]

    def _asked(self, script: Script, video: int, kind: Kind, again: int = 0) -> AboutVideo:
        more = (again,) if again else ()
        chance = generator(self.config.drawing_seed, "long", "ask", self.split, kind, video, *more)
        return ask(script, kind, self.split, chance)

    def _conversation(self, script: Script, video: int) -> tuple[Turn, ...]:
        """Questions of all rounds, the first of which `about` tells of, with the letters of their answers."""
        chance = generator(self.config.drawing_seed, "long", "together", video)
        turns: dict[str, list[Turn]] = {}
        for again in range(self.config.rounds):
            for number in chance.permutation(len(self.config.kinds)):
                question = self._asked(script, video, self.config.kinds[number], again).question
                pair = [Turn("user", format_question(question)), Turn("assistant", question.answer)]
                turns.setdefault(question.question, pair)
        return place_visuals([turn for pair in turns.values() for turn in pair], 1, "data=long")

    def _windows(self, about_video: Sample, script: Script, video: int, part: int) -> Sample:
        """The video in windows, each with questions about it and all that appears in it."""
        chance = generator(self.config.drawing_seed, "long", "windows", video, part)
        (shown,) = about_video.visuals
        turns, clips = [], []
        for window in windows(script, self.config.needle_seconds, chance):
            clips.append(replace(shown, start=window.start, end=window.end))
            asked = [(format_question(one), one.answer) for one in window.questions]
            for number, (question, answer) in enumerate([*asked, window.told]):
                text = question if number else f"{PLACEHOLDER}\n{question}"
                turns += [Turn("user", text), Turn("assistant", answer)]
        key = f"{shown.name}#{part}"
        return replace(about_video, key=key, turns=tuple(turns), visuals=tuple(clips), source="windows")

    def load(self, number: int) -> SampleWithMedia:
        """The sample with its video, of which no frame is decoded yet."""
        video = number // len(self.parts)
        script = self.script(video)
        sample = self.record(number)
        return SampleWithMedia(sample, (self.segments(script, video),) * len(sample.visuals))

    def segments(self, script: Script, video: int) -> Segments:
        """The video: scenes in a random order, with the shapes where the script has them."""
        names = list(self.scenes.backgrounds)
        parts: list[Part] = []
        now, turn = 0.0, 0

        def fill(until: float) -> None:
            """With scenes, the last one cut."""
            nonlocal now, turn
            while until - now > 1e-6:
                chance = generator(self.config.drawing_seed, "long", "fill", self.split, video, turn)
                name = names[chance.integers(len(names))]
                seconds = min(self.scenes.backgrounds[name], until - now)
                parts.append(Part(str(self.scenes.folder / name), 0.0, seconds))
                now, turn = now + seconds, turn + 1

        length = self.config.needle_seconds
        for number, event in enumerate(script.events):
            fill(event.start)
            chance = generator(self.config.drawing_seed, "long", "look", self.split, video, number)
            parts.append(self.scenes.drawn(event, int(chance.integers(LOOKS)), length))
            now += length
        fill(script.seconds)
        return Segments(tuple(parts), float(FPS), WIDTH, HEIGHT)

    def where(self, number: int) -> tuple[str, str]:
        """(part of the data, key)."""
        return f"data=long, {self.split}", f"number {number}"

    def known_bad(self) -> list[BadSample]:
        """None: all of it is drawn."""
        return []
