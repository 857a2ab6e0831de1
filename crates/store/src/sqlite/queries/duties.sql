SELECT substr(key, 6), value FROM meta WHERE key >= 'duty ' AND key < 'duty!' ORDER BY key
