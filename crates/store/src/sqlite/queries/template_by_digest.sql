SELECT id FROM templates WHERE digest = ?1
