"""A web page with the three buttons, where each visitor sees their place in line."""
