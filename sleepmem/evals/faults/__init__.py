"""Faults on purpose: kills, load, questions across owners, many owners. `make bench-faults`."""
