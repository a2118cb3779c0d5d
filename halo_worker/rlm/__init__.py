"""The engine: models, code and text. It knows nothing of traces."""
