"""Getting what clients show: files, what is fetched or sent along; each with a key of its content."""
