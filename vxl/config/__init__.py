"""The configuration: options (option, schema), strict rebuild (rebuild), rules (check), Hydra (compose)."""
