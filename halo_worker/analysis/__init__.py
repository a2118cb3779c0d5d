"""Traces meet the engine: detectors, tools, evidence."""
