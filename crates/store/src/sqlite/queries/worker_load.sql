SELECT beat, draining, gone FROM workers WHERE id = ?1
