"""Side-by-side measurements: the same work by different programs, in turns, on the same machine."""
