"""`[start, end)` of arrival time, and when its traces have settled."""
