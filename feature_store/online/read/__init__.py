"""Reading vectors: the keys of the rows, the rounds in which their groups are read, and the decoding of values."""
