"""Exported files in a browser: a page that segments the camera, a picture or a video, and the server of its files."""
