"""Dreaming: synthetic questions, kept only when they measurably help (arXiv 2606.03979, section 3.4)."""
