"""The demo shop: a real purchase log, and a generated shop around it."""
