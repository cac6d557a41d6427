"""How frames are chosen for a request."""

from vxl.serve.asked.request import ChatRequest, FramesWish
from vxl.serve.job import sampled
from vxl.video.sample import FpsConfig, UniformConfig


def test_a_rate_that_a_client_wants_is_decoded_in_the_models_way() -> None:
    request = ChatRequest("tiny", (), frames=FramesWish(fps=2.0))
    video = sampled(UniformConfig(decoder="torchcodec", device="cuda"), request, most=16)
    assert video == FpsConfig(fps=2.0, max_fps=None, max_frames=16, decoder="torchcodec", device="cuda")
