"""Bytes to spans: one module a format, one function decode(bodies) each."""
