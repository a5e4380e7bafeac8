"""Dreaming: synthetic questions that are kept only when they measurably help."""
