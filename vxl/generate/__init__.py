"""Watch once, ask many times: a video is encoded and run through the model once, each question goes on a
fork."""

from vxl.generate.asking import Answer, ask, ask_all
from vxl.generate.context import Context
from vxl.generate.sampling import Sampling
from vxl.generate.saved import load_context, save_context
from vxl.generate.watching import watch

__all__ = ["Answer", "Context", "Sampling", "ask", "ask_all", "load_context", "save_context", "watch"]
