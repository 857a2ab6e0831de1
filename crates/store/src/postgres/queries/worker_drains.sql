UPDATE workers SET draining = true WHERE id = $1
