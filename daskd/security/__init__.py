"""Who is calling, may they, and the certificates of clusters."""
