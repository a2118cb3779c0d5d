"""The loop of one agent and of its children: turns, tools, code, sub-calls, the final answer, checkpoints."""
