"""Spans at rest: Delta tables on local disk."""
