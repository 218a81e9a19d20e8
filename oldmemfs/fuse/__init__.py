"""The mount: names, inodes, requests."""
