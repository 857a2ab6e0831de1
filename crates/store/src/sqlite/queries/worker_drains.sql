UPDATE workers SET draining = 1 WHERE id = ?1
