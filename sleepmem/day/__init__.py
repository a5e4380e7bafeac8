"""By day: what is captured, what is recalled, how a question is answered. No torch at import."""
