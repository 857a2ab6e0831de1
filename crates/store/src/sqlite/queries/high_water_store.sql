INSERT OR REPLACE INTO meta (key, value) VALUES ('high_water', ?1)
