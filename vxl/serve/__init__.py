"""`vxl serve`: a model behind an OpenAI-compatible endpoint, with a page to try it.

May enter: reading requests and media, contexts of watched videos, the queue, the endpoint and its page.
Contract: a client's mistake is answered with 4xx and names the field; the model is used by one thread.
"""
