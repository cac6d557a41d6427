"""Watch once, ask many times: a video is encoded and prefilled once, and each question goes on a fork.

May enter: watching, asking, decoding and sampling, and contexts on disk. Contract: a `Context` is never
changed by a question, so that questions may be asked in any order, at once, and by several threads.
"""

from vxl.generate.asking import Answer, ask, ask_all
from vxl.generate.context import Context
from vxl.generate.sampling import Sampling
from vxl.generate.saved import read_context, save_context
from vxl.generate.watching import watch

__all__ = ["Answer", "Context", "Sampling", "ask", "ask_all", "read_context", "save_context", "watch"]
