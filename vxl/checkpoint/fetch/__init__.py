"""`vxl fetch small`: Python packages downloaded, checked, unpacked and converted."""
