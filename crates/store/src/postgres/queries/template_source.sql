SELECT source, path, environment FROM templates WHERE id = $1
