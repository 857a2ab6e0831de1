"""Names the published package had and nothing of ours needs. Their published paths re-export from here."""
