"""What the shop's features describe."""

from feature_store import STRING, Entity

user = Entity("user", join_key="user_id", dtype=STRING, description="A customer of the shop.")
item = Entity("item", join_key="product_id", dtype=STRING, description="A product of the catalogue.")
