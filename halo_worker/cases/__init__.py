"""Regression cases out of real failing traces: what the agent was given, and the rule that must not fire.

`collect` reads the traces, `choose` picks one of a kind and passing ones that resemble them, `formats` writes them.
`recording` and `checking` are what a written test uses: they run an agent, record its spans, and apply the rule.
"""
