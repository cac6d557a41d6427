"""`vxl serve`: a model behind an OpenAI-compatible endpoint.

May enter: reading requests and media, contexts of watched videos, the queue, the endpoint.
Contract: a client's mistake is answered with 4xx and names the field; the model is used by one thread.
"""
