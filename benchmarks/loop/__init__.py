"""One round of the method on a public task set and a small local model: README.md tells it, docs/loop.md teaches it."""
