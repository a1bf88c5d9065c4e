"""The page that needs no server: a folder for any static host, in which the browser makes the clips."""
