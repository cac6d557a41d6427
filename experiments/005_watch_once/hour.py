"""A long video out of a short one, by repeating its packets: nothing is encoded anew.

python experiments/005_watch_once/hour.py examples/clips/sintel_trailer.mp4 hour.mp4 3600
"""

import sys
from pathlib import Path

import av


def loop(source: str | Path, target: str | Path, seconds: float) -> None:
    """Writes a video that shows the source again and again, for at least so many seconds."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        base, rate = stream.time_base, stream.average_rate
        assert base is not None
        assert rate is not None
        step = round(1 / (rate * base))
        span = step * len(packets)
        with av.open(str(target), "w") as out:
            copy = out.add_stream_from_template(stream)
            for turn in range(int(seconds / float(span * base)) + 1):
                for packet in packets:
                    again = av.Packet(bytes(packet))
                    again.pts = (packet.pts or 0) + turn * span
                    again.dts = (packet.dts or 0) + turn * span
                    again.time_base, again.stream = base, copy
                    again.is_keyframe = packet.is_keyframe
                    out.mux(again)


if __name__ == "__main__":
    loop(sys.argv[1], sys.argv[2], float(sys.argv[3]))
