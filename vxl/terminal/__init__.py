"""The terminal: what others wrote (names, answers, messages) is shown there, and never obeyed."""
