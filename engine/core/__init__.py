"""The pure core: arrays in, arrays out; no I/O, no clock, no logging."""
