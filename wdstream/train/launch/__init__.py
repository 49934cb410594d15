"""How training processes start, and are asked to stop."""
