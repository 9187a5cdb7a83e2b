"""Steps from an empty database to the tables of today, run by `feature_store.registry.migrate.upgrade`."""
