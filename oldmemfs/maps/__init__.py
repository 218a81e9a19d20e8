"""Maps into a lower space: memory, layouts, plans, and the one reader of tables."""
