"""What is measured, each by a script that anyone can start: `python -m benchmarks.NAME`."""
