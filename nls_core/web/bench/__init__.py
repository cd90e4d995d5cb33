"""The app as those who use it meet it, for `nls bench`: its start, its memory, its speed."""
