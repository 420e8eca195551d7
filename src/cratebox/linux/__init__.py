"""One function, one kernel call; no policy."""
