"""The logical plan lowered to engines, and the slow, obvious reference that judges them."""
