"""Others who check a bearer token, set up as their documentation says, and the token that all of them are shown."""
