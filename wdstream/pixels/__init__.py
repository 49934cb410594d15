"""Pixels: header and decode, crop and resize in uint8, patch layout, normalise on the device."""
