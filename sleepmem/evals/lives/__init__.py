"""Does the memory work? Lives written by hand, lived and asked about: `make bench-lives`."""
