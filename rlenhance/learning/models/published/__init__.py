"""Published networks of the field, as their authors describe them."""
