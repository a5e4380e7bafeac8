"""The small model that ships with sleepmem: its world, its tokenizer, its recipe, its weights.

No code outside may know it.
"""
