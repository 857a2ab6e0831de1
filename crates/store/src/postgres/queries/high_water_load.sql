SELECT value FROM meta WHERE key = 'high_water'
