"""Policies whose score is the attention that some tokens pay, or are expected to pay, to an entry."""
