"""Do several runs beat one? Their average, what they miss together, and calibration (Table II)."""
