"""A real kernel crash in an emulated machine, with oldmemfs mounted in the capture kernel."""
