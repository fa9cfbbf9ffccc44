"""Charts and pages: their look, their data, and how they are written."""
