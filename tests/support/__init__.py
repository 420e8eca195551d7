"""What the suites share: people to run as, images, registries, and the search for what a test left behind."""
