"""Reading what clients ask: JSON, field by field, with errors that name the field.

May enter: what JSON may hold. Contract: a field that does not fit is an error that names it.
"""
