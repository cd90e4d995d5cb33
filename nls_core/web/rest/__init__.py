"""REST: routes, schemas, and the page that documents them."""
