"""A module per verb: a flag table and a main that calls one engine function."""
