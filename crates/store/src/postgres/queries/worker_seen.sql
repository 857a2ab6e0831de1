UPDATE workers SET seen_at = $2 WHERE id = $1
