"""The night: one LangGraph graph of steps.

Its rooms share values; only `steps` and `graph` write to the stores.
"""
