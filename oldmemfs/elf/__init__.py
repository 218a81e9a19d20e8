"""ELF core files: headers, notes, registers, and the two files that are made of them."""
