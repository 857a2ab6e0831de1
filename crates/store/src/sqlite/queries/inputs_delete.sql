DELETE FROM inputs WHERE step = ?1
