"""One run from request to summary, and what can be made of a finished one."""
