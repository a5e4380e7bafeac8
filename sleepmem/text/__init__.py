"""What is written: how languages ask, name and abstain, what is put before a model, tokens, embeddings. Knows no store, no model, no torch."""
