"""Where reports go, and the proof that they arrived."""
