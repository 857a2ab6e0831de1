UPDATE workers SET gone = true WHERE id = $1
