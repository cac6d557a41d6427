"""Which chunks of a video matter to a question: `relevance=NAME` is conf/relevance/NAME.yaml."""
