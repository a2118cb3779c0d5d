"""The engine, a recursive language model: models, code and text. It knows nothing of traces."""
