"""Evaluation suites: what README and `docs/lab/` claim is printed by one of these."""
