"""One page a file: ask, compute, draw."""
