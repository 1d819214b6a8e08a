"""The devices and processes that work together, and the host that they are on."""
