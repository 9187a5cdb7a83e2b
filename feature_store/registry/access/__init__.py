"""Who may read, write and administer what: tokens, grants, the one decision, and the log of what was done."""
