"""The dead kernel: what VMCOREINFO says, its addresses, its log."""
