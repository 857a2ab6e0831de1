UPDATE workers SET beat = beat + 1, seen_at = ?2 WHERE id = ?1 AND NOT gone
