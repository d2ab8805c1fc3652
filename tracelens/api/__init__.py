"""The API port: what machines ask."""
