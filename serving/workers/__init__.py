"""Several server processes on the same ports: their parent, how ports are shared, and their counts together."""
