"""What is kept: the ledger, its index, the folders of the experts.

Knows values, no model and no torch.
"""
