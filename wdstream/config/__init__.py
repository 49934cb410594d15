"""The YAML configuration: composes the stations' settings, explains every key."""
