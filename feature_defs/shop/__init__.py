"""The demo shop: customers, items, and what is known of them."""
