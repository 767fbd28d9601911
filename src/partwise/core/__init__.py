"""Pure rules: byte ranges, numbers, digests, the states of an upload, the tree of errors. No I/O and no clock."""
