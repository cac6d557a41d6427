"""How a long sequence is run through the language model: `prefill=NAME` is conf/prefill/NAME.yaml."""
