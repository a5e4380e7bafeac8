"""The night: one LangGraph graph of steps. What its rooms share is values; only `steps` and `graph` write to the stores."""
