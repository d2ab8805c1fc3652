"""The Python side of the canvas components."""
