UPDATE dead_letters SET note = $2 WHERE id = $1
