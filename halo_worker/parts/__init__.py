"""A window too large for one process, worked in hash parts of its traces by a pool of processes or a Dask cluster."""
