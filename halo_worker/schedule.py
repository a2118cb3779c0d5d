"""When analyses run: named schedules, coalesced, never two at once."""
