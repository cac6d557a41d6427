"""What the tokens of a batch are: for data, selector, llm, prefill, kv and relevance.

May enter: descriptions of positions (kind, group, document, time) and what moves along with them. Contract:
a `Layout` has one entry for every position of every row, and nothing else searches for token ids.
"""
