"""The sections of tools/gpu_lap.py."""
