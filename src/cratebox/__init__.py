"""cratebox: pull images, make containers from them and run them, with root and without, with no daemon."""
