"""The page at /: a video is dropped or chosen, watched and asked about; it loads nothing from elsewhere."""
