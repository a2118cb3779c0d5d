"""`python -m halo_worker`."""
