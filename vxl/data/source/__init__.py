"""Where samples are read from: indexed shards, JSON lists, by offset from local files or URLs.

Contract: a `Source` has a length, says of sample i what it costs without decoding, and loads it.
"""
