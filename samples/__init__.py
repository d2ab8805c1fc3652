"""A mini-mesh of real Envoy sidecars, and dumps recorded from it."""
