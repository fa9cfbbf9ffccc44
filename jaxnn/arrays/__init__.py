"""Arrays: programs compiled once, loops on the device, rows of numbers of any size."""
