"""`halo mcp`: issues, evidence and traces for coding agents, by the Model Context Protocol."""
