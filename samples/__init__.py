"""A shop to look at: behind real Envoy sidecars, in one process, and as recorded dumps."""
