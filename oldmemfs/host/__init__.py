"""What this machine says, and the daemon's life on it."""
