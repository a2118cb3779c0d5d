"""`python -m halo_worker`: the command `halo`, for an environment whose scripts are not on the PATH."""

from halo_worker.cli import main

if __name__ == "__main__":
    main()
