"""Planted failures with hard negatives: agents of several shapes, in several conventions, with the truth beside them."""
