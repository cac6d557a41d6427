"""Policies whose score is where an entry stands: baselines that read neither keys nor queries."""
