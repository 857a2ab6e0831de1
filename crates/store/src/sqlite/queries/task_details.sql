SELECT details FROM requests WHERE task = ?1
