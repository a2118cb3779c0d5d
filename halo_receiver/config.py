"""The receiver's settings and the loader of all settings: defaults < file < environment < flags."""
