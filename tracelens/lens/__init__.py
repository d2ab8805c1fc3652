"""Every question a person can ask, asked of a store or of a dump."""
