SELECT id, fence FROM steps WHERE worker = ?1 AND state = 2
