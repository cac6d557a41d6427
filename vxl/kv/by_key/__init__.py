"""Policies whose score is computed from keys and values, without any query."""
