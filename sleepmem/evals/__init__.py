"""Evaluation suites: what README and LAB.md claim is printed by one of these."""
