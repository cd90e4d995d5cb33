"""A family's declaration in, stored models out."""
