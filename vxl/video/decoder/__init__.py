"""What decodes: exact frames of one opened video, by number; a file for each decoder."""
