"""Long videos and their questions as samples: nothing is read before a sample's frames are."""

from hashlib import blake2b

from vxl.data.long.asked import AboutVideo, ask
from vxl.data.long.config import LongConfig
from vxl.data.long.scenes import FPS, HEIGHT, WIDTH, Scenes
from vxl.data.long.script import Script, Split, write_script
from vxl.data.sample import BadSample, Sample, SampleWithMedia, Segment, Visual
from vxl.seeds import generator
from vxl.video.virtual import Part, Segments


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

    def __len__(self) -> int:
        return self.videos * len(self.config.kinds)

    def fingerprint(self) -> str:
        """A digest of what all samples follow from."""
        named = (self.scenes.folder.parent.name, self.config, self.split, self.videos)
        return blake2b(repr(named).encode(), digest_size=8).hexdigest()

    def record(self, number: int) -> Sample:
        """The sample without its media."""
        video, part = divmod(number, len(self.config.kinds))
        script, kind = write_script(self.config, self.split, video), self.config.kinds[part]
        length = self.config.needle_seconds
        segments = tuple(
            Segment(event.start, event.start + length, f"{event.colour} {event.shape}, {event.place}")
            for event in script.events
        )
        shown = Visual(
            "video",
            f"long-{self.split}-{video:05d}",
            frames=round(script.seconds * FPS),
            fps=FPS,
            seconds=script.seconds,
            width=WIDTH,
            height=HEIGHT,
        )
        return Sample(
            key=f"{shown.name}#{kind}",
            visuals=(shown,),
            question=self.about(number).question,
            source=kind,
            segments=segments,
        )

    def about(self, number: int) -> AboutVideo:
        """The question of a sample, and when the video shows what it needs."""
        video, part = divmod(number, len(self.config.kinds))
        kind = self.config.kinds[part]
        chance = generator(self.config.drawing_seed, "long", "ask", self.split, kind, video)
        return ask(write_script(self.config, self.split, video), kind, self.split, chance)

    def load(self, number: int) -> SampleWithMedia:
        """The sample with its video, of which no frame is decoded yet."""
        video = number // len(self.config.kinds)
        script = write_script(self.config, self.split, video)
        return SampleWithMedia(self.record(number), (self.segments(script, video),))

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

        for event in script.events:
            fill(event.start)
            parts.append(Part(str(self.scenes.drawn(event)), 0.0, self.config.needle_seconds))
            now += self.config.needle_seconds
        fill(script.seconds)
        return Segments(tuple(parts), float(FPS), WIDTH, HEIGHT)

    def where(self, number: int) -> tuple[str, str]:
        """(part of the data, key)."""
        return f"data=long, {self.split}", f"number {number}"

    def known_bad(self) -> list[BadSample]:
        """None: all of it is drawn."""
        return []
