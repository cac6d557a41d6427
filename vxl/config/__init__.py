"""The configuration: options and schemas (option, schema), strict rebuild (rebuild), rules (check), Hydra (compose)."""
