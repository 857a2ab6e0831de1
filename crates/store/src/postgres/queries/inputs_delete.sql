DELETE FROM inputs WHERE step = ANY ($1)
