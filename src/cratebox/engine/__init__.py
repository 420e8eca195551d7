"""What a user calls a container."""
