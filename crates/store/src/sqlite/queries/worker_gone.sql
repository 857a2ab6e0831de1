UPDATE workers SET gone = 1 WHERE id = ?1
