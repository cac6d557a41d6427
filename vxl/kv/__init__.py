"""Which keys and values stay: `kv=NAME` is conf/kv/NAME.yaml."""
