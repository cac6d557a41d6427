"""Which keys and values stay: a KV policy `kv=NAME` is registered by its file conf/kv/NAME.yaml.

May enter: policies, and what they share (`scored`: score, protection, room, moment). Contract: see
`vxl.kv.policy.Policy`. A policy is asked around each piece of the prefill, when watching ends, at the
question and at every token of an answer; it changes the cache and keeps nothing of a request itself, so that
one policy serves any number of requests. Most say only how much an entry is worth:

Example:
    >>> from vxl.kv.scored.config import ScoredConfig
    >>> from vxl.kv.scored.policy import Scored
    >>> class Oldest(Scored):
    ...     per_head = False  # all heads of a layer keep the same
    ...     def score(self, entries):
    ...         return -entries.index_BNS.double()
    >>> from vxl.llm.decoder import Decoder, DecoderConfig
    >>> from vxl.prefill.full import Full, FullConfig
    >>> from vxl.sequence.layout import Layout
    >>> from vxl.sequence.piece import Piece
    >>> llm = Decoder(DecoderConfig(layers=1))
    >>> policy = Oldest(ScoredConfig(_target_="", keep=0.25, protect="none"))
    >>> cache = llm.new_cache()
    >>> piece = Piece(llm.embed(torch.arange(12)[None]), Layout.text(1, 12))
    >>> with torch.no_grad():
    ...     hidden_BTD = Full(FullConfig()).feed(llm, policy, cache, piece)
    >>> cache.index().tolist()
    [[[0, 1, 2]]]
"""
