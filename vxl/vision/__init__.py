"""Vision towers: frames_FCHW (uint8, at the tower's size) -> patches_FPV."""
