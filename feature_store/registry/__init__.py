"""What is defined, since when, by whom, and who uses it: recorded in PostgreSQL."""
