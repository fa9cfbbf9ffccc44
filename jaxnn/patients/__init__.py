"""Patients: networks whose arrays and layers changes are made in, and the code of a change."""
