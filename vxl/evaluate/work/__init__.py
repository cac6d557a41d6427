"""Getting questions answered: on disk at once, by any number of workers, under any policy."""
