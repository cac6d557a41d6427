"""How a long sequence is run through the language model: `prefill=NAME` is conf/prefill/NAME.yaml.

May enter: in which passes a sequence goes through, and what its tokens see. Contract: see
`vxl.prefill.base.Prefill`. `forward` trains on whole sequences; `feed` takes a video in pieces of whole
groups, so that memory follows the piece. Which keys and values stay is for `vxl.kv` to say.
"""
