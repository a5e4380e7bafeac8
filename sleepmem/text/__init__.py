"""What is written: how languages ask, name and abstain, what is put before a model, embeddings.

Knows no store, no model, no torch.
"""
