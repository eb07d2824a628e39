"""Running it elsewhere: the demo, exports for other tools, a container."""
