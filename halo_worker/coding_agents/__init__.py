"""The coding agents that issues are handed to: where each looks for skills and MCP servers, and what we write."""
