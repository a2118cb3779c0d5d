"""The process that turns spooled requests into rows of the open segment."""
