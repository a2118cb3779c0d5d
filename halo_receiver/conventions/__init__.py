"""What a span means, whichever GenAI convention sent it."""
