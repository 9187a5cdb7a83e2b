"""The server: online vectors and the registry's contents over HTTP. It reads; definitions come from the registry."""
