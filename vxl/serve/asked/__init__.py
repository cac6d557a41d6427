"""Reading what clients ask: JSON, field by field, with errors that name the field."""
