"""oldmemfs: a crashed Linux kernel's memory as files."""
