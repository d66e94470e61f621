"""Look at what an encoder sees: a page with a map of all pictures, and the same server as an API for other programs."""
