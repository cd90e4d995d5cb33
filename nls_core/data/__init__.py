"""Data sets as arrays, the making of everyday-objects, and what shifts images."""
