"""Asking a trained model the questions of a benchmark, scoring its answers, comparing runs."""
