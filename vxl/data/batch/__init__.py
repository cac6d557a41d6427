"""From a sample to a batch: the prompt as text, tokens with labels, frames, padded rows with their layout."""
