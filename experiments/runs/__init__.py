"""Running an experiment: settings, cells, devices, files, signals."""
