"""The server: online vectors over HTTP and gRPC, and what is recorded. It reads; definitions are the registry's."""
