"""The terminal: what others wrote (names, answers, messages) is shown there, and never obeyed.

May enter: printing for people, and cleaning what is printed. Contract: nothing in a text that others wrote
reaches the terminal as a command.
"""
