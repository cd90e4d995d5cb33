"""One picture through some models, and what else the pages compute."""
