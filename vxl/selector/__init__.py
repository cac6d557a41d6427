"""Which visual tokens a question keeps: `selector=NAME` is conf/selector/NAME.yaml."""
