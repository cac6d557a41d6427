"""Attention: what the tokens of a pass see (`step`, `windows`), and the attention kernels that compute it.

`function.attend` is what transformers calls in every layer. It chooses the attention kernel: the attention
backend `llm.attention=NAME` is `backends.NAME`, for sequences without a past; behind a cache the kernels of
`continuation`, `windows` and `vxl.llm.kernels` run. May enter: anything between queries, keys and values and
their output. Contract: no T x T mask is made, and a layer changes nothing of the step that it reads.
"""
