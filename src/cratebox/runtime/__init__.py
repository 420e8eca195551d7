"""From an OCI bundle to a process. This room has never heard of images."""
