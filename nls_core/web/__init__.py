"""The app: REST, the pages, and the process that serves both."""
