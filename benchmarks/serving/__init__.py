"""How fast the server answers."""
