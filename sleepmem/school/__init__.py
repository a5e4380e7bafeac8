"""Teaches a base model, once, the habits that a memory needs of it."""
