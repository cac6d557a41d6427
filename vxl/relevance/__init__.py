"""Which chunks of a video matter to a question: `relevance=NAME` is conf/relevance/NAME.yaml.

A policy with two levels (`kv=bilevel`) asks for scores when a question comes, before the question is read.
May enter: what scores chunks, by the language model, by another model, or by a list. Contract: see
`vxl.relevance.base.Relevance`. `score` leaves the cache as it is and gives a float [B, C]; higher matters
more.

Example:
    Later chunks matter more.

    >>> from vxl.llm.cache import Cache
    >>> from vxl.llm.chunks import Chunks
    >>> from vxl.relevance.base import Relevance, RelevanceConfig
    >>> class Latest(Relevance):
    ...     def score(self, question, chunks, cache):
    ...         return torch.arange(chunks.count, dtype=torch.float32).expand(cache.rows, -1)
    >>> none_BS = torch.zeros(2, 0, dtype=torch.int64)
    >>> no_BS = none_BS.bool()
    >>> chunks = Chunks(none_BS, no_BS, none_BS, no_BS, torch.arange(3), torch.zeros(3) > 0, 1)
    >>> cache = Cache(1, None, torch.device("cpu"), rows=2)
    >>> Latest(RelevanceConfig(_target_="mylab.Latest")).score(None, chunks, cache)
    tensor([[0., 1., 2.],
            [0., 1., 2.]])
"""
