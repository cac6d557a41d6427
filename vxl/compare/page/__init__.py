"""The comparison as one file of HTML that opens anywhere and loads nothing."""
