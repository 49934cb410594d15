"""What people look at: a pack explained, in the terminal and as one HTML file."""
