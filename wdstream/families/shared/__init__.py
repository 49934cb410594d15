"""What model families are composed of."""
