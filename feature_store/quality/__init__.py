"""Whether data are good enough to be served: expectations and what becomes of them."""
