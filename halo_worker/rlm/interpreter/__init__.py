"""Where model-written code runs: the protocol, and its implementation with pydantic-monty."""
