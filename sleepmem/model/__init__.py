"""The language model and its experts, on torch. Knows no store."""
