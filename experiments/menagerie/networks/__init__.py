"""Networks of layers of a package, which tables name; a module for each package."""
