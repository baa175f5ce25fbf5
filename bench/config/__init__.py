"""Files that users write, as typed and checked values."""
