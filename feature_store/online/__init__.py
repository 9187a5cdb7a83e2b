"""The online store: the newest row of every entity in Redis, written under a guard and read in one round trip."""
