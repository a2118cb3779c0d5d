"""A report: its model, its archive, and how it looks in every form it is read in."""
