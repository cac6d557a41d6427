"""The language model: any decoder of transformers, run through vxl's own attention and key-value cache.

`llm=NAME` is conf/llm/NAME.yaml. All contact with the insides of transformers is in this room. May enter:
what a decoder needs to compute: attention kernels (`attention`), the cache (`cache`), rotary positions
(`rope`), low-rank updates (`lora`, `packed`), beacons, the loss. Contract: `Decoder.forward(embeds_BTD,
step)` changes neither its step nor a cache, so that activation checkpointing may run a layer twice.
"""
