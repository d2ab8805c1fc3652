"""One intake, several doors."""
