"""One run, the conductor: window → analyze → publish → deliver."""
