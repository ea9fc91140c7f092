"""Models of known lineage, made in seconds from one small parent."""
