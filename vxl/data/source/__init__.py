"""Where samples are read from: indexed shards, JSON lists, by offset from local files or URLs.

May enter: file formats and ways to reach them. Contract: a `SampleSource` has a length, says of sample i
what it costs without decoding, and loads it.

Example:
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from vxl.data.source.json_list import JsonSource
    >>> folder = Path(tempfile.mkdtemp())
    >>> talk = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "Yes."}]
    >>> _ = (folder / "list.json").write_text(json.dumps([{"id": "a", "conversations": talk}]))
    >>> source = JsonSource(folder / "list.json", folder, cache=folder / "cache")
    >>> len(source), source.record(0).turns[1].text
    (1, 'Yes.')
"""
