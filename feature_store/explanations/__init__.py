"""Every error code in plain words: what `./fs errors` shows. One module for each area, data only."""
