"""Can a model be its own teacher? What `sleepmem fit` measures, in natural language."""
