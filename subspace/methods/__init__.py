"""The methods: each a record of its own fields, and how it builds an Optax transformation."""
