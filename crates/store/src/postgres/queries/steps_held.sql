SELECT id, fence FROM steps WHERE id = ANY ($1) AND state = 2
