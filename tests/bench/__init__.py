"""Hot paths beside their floors, measured within one run: `make bench`."""
