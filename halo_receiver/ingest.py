"""Bounded queue into the spool, acknowledge after its group fdatasync."""
