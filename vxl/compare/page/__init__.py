"""The comparison as one file of HTML that opens anywhere and loads nothing.

May enter: pictures of a comparison, each a function of it. Contract: the file needs no network and no server,
and what others wrote stands in it as text.
"""
