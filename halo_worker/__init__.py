"""Segments in, failure-mode reports out. Importing this package loads nothing."""
