"""Questions to the window, answered in processes of their own: what a model asks cannot take this one down."""

from halo_worker.analysis.questions.client import QuestionError, Questions, Rows

__all__ = ["QuestionError", "Questions", "Rows"]
