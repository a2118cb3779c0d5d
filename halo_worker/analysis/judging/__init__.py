"""Traces judged by a model one by one: shown as steps, labelled with verified quotes, doubtful ones asked twice."""
