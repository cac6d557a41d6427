"""What a language model remembers of a batch of sequences: keys and values in blocks, layer by layer.

May enter: how entries are stored, shared, dropped and moved to another device. Contract: `Cache.append`
copies no past, a fork shares its parent's blocks, `Cache.bytes()` is the memory that is really held. Which
entries stay is for the policies of `vxl.kv` to say.
"""

from vxl.llm.cache.cache import Cache

__all__ = ["Cache"]
