"""From a name to verified directories."""
