"""`halo`: the commands; each calls a room and prints."""
