SELECT context, details FROM requests WHERE task = ?1
