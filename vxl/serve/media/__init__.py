"""Getting what clients show: files, what is fetched or sent along; each with a key of its content.

May enter: ways in which media come. Contract: nothing is read that the server was not started to offer.
"""
