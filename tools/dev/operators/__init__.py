"""The operators that networks and training use, and their comparison on two devices."""
